"""Migrations: numbered plain SQL, forward only, each applied once."""

from dataclasses import dataclass
from datetime import datetime
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

COMPATIBLE = ".compatible"
"""Ends the name of a migration that older processes need not know, as `0008_notes.compatible.sql`:
they run while it is applied, start after it, and leave nothing undone."""


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

    Each migration and its ledger row are one transaction, under one advisory lock. That lock is the
    transaction's, as a session is not ours to keep where a pooler is in between.

    Raises:
        SchemaError: the database was migrated by a newer version, and not compatibly; or somebody's
            view depends on a column that is to change.
        psycopg.Error: the database refused; the migration at hand was rolled back.
    """
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    done: list[Migration] = []
    async with connection:
        while (migration := await _next(connection)) is not None:
            done.append(migration)
    return done


async def _next(connection: psycopg.AsyncConnection) -> Migration | None:
    """Apply the first missing migration and return it; return None if none is missing."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(_LEDGER)
        applied = await _applied(connection)
        for migration in available():
            if migration.version not in applied:
                await _apply(connection, migration)
                return migration
    return None


async def _apply(connection: psycopg.AsyncConnection, migration: Migration) -> None:
    await connection.execute(
        'INSERT INTO "schemaMigrations" (version, name) VALUES (%s, %s)',
        (migration.version, migration.name),
    )
    try:
        await connection.execute(migration.sql.encode())
    except psycopg.errors.FeatureNotSupported as error:
        raise SchemaError(
            f"{migration.name}: {error.diag.message_primary} ({error.diag.message_detail}): "
            "drop that, run `merganser migrate` again, then create it again",
        ) from None


async def read_state(connection: psycopg.AsyncConnection) -> dict[str, datetime | None]:
    """Return when each migration was applied, by its name; None: not yet."""
    cursor = await connection.execute(
        """SELECT name, "appliedAt" FROM "schemaMigrations" ORDER BY version"""
    )
    applied: dict[str, datetime | None] = dict(await cursor.fetchall())
    return applied | {m.name: None for m in available() if m.name not in applied}


async def check(connection: psycopg.AsyncConnection) -> None:
    """Refuse to work on a schema that is older than this version's, or newer and not compatible.

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
    cursor = await connection.execute('SELECT version, name FROM "schemaMigrations"')
    applied: dict[int, str] = dict(await cursor.fetchall())
    known = {migration.version for migration in available()}
    strange = [v for v in applied.keys() - known if not applied[v].endswith(COMPATIBLE)]
    if strange:
        raise SchemaError(
            f"the database has migration {max(strange)}, this version knows up to {max(known)}: "
            "upgrade merganser",
        )
    return set(applied)
