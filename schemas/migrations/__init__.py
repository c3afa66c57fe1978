"""Migrations: numbered plain SQL, forward only, each applied once (design §3)."""

from dataclasses import dataclass
from importlib.resources import files

import psycopg

_LOCK = 0x6D657267  # "merg": one migrator at a time, whatever starts together

_LEDGER = """
CREATE TABLE IF NOT EXISTS "schemaMigrations" (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    "appliedAt" timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaError(RuntimeError):
    """The database's schema is not the one this version works with."""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    sql: str


def available() -> list[Migration]:
    """All migrations of this version, in order."""
    found = sorted(
        (entry for entry in files(__name__).iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return [
        Migration(int(entry.name[:4]), entry.name.removesuffix(".sql"), entry.read_text())
        for entry in found
    ]


async def migrate(database_url: str) -> list[Migration]:
    """Apply what is missing and return it; safe when many processes do so at once.

    Each migration and its ledger row are one transaction, under one advisory lock.

    Raises:
        SchemaError: the database was migrated by a newer version.
        psycopg.Error: the database refused; the migration at hand was rolled back.
    """
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    async with connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        await connection.execute(_LEDGER)
        applied = await _applied(connection)
        missing = [migration for migration in available() if migration.version not in applied]
        for migration in missing:
            async with connection.transaction():
                await connection.execute(
                    'INSERT INTO "schemaMigrations" (version, name) VALUES (%s, %s)',
                    (migration.version, migration.name),
                )
                await connection.execute(migration.sql.encode())
        return missing


async def check(connection: psycopg.AsyncConnection) -> None:
    """Refuse to work on a schema that is older or newer than this version's.

    Raises:
        SchemaError: what differs and what to do.
    """
    try:
        applied = await _applied(connection)
    except psycopg.errors.UndefinedTable:
        applied = set()
    if missing := [m.name for m in available() if m.version not in applied]:
        raise SchemaError(f"migrations missing: {', '.join(missing)}; run `merganser migrate`")


async def _applied(connection: psycopg.AsyncConnection) -> set[int]:
    cursor = await connection.execute('SELECT version FROM "schemaMigrations"')
    applied = {version for (version,) in await cursor.fetchall()}
    known = {migration.version for migration in available()}
    if newer := applied - known:
        raise SchemaError(
            f"the database has migration {max(newer)}, this version knows up to {max(known)}: "
            "upgrade merganser",
        )
    return applied
