"""`merganser keys`: who may send events and read."""

import os
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from merganser.admin.database import connected
from merganser.cli.terminal import fail, out, run
from merganser.http.authentication import Permission, hash_key
from merganser.runtime.settings import Settings
from schemas.ids import WHITE_SPACE

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")

# `ensure` may meet its own key, made by a version that knew fewer permissions.
_CREATE = """
INSERT INTO "apiKeys" (name, "keyHash", permissions) VALUES (%s, %s, %s)
ON CONFLICT ("keyHash") DO UPDATE SET permissions = excluded.permissions, "updatedAt" = now()
"""
_LIST = """
SELECT guid, name, permissions, "createdAt", "revokedAt" FROM "apiKeys" ORDER BY "createdAt", guid
"""
_REVOKE = """
UPDATE "apiKeys" SET "revokedAt" = now(), "updatedAt" = now()
WHERE (guid = %(key)s OR name = %(key)s) AND "revokedAt" IS NULL
"""


Permissions = Annotated[
    list[Permission], typer.Option("--permission", help="May be given several times.")
]


LONGEST_NAME = 191
"""Characters."""


def _name(text: str) -> str:
    """A name by which people find a key again.

    Raises:
        typer.BadParameter: it is none.
    """
    if not text.strip(WHITE_SPACE):
        raise typer.BadParameter("a name has more than white space")
    if len(text) > LONGEST_NAME:
        raise typer.BadParameter(f"has {len(text)} characters, {LONGEST_NAME} are allowed")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise typer.BadParameter("has control characters")
    return text


Name = Annotated[str, typer.Argument(parser=_name, help="What the key is for.")]


@app.command()
def create(name: Name, permission: Permissions = [Permission.WRITE_EVENTS]) -> None:  # noqa: B006 - typer copies it
    """Create a key and print it: once, for only its hash is kept."""
    secret = _new_secret()
    run(_execute(_CREATE, (name, hash_key(secret), [str(p) for p in permission])))
    typer.echo(secret)


@app.command()
def ensure(
    name: Name,
    secret_file: Annotated[Path, typer.Option(help="Where the key is kept; made if missing.")],
    permission: Permissions = [Permission.WRITE_EVENTS],  # noqa: B006 - typer copies it
) -> None:
    """Make sure that the key in a file is known: for local stacks, whose database may be wiped."""
    try:
        descriptor = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = secret_file.read_text().strip()
    else:
        secret = _new_secret()
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
    run(_execute(_CREATE, (name, hash_key(secret), [str(p) for p in permission])))


@app.command("list")
def list_keys() -> None:
    """List all keys, revoked ones too. The keys themselves are not kept."""
    table = Table("guid", "name", "permissions", "created", "revoked")
    for guid, name, permissions, created, revoked in run(_rows()):
        table.add_row(
            guid,
            escape(name),
            ", ".join(permissions),
            f"{created:%Y-%m-%d %H:%M}",
            f"{revoked:%Y-%m-%d %H:%M}" if revoked else "",
            style="dim" if revoked else None,
        )
    out.print(table)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="The guid or the name of a key.")]) -> None:
    """Revoke a key: within seconds no gateway takes it."""
    revoked = run(_execute(_REVOKE, {"key": key}))
    if revoked == 0:
        fail(f"no key in force has the guid or name {key!r}: see `merganser keys list`")
    typer.echo(f"{revoked} revoked")


def _new_secret() -> str:
    """256 bits: nobody guesses it, so its hash needs no salt and no stretching."""
    return "mk_" + secrets.token_urlsafe(32)


async def _execute(statement: str, values: Sequence[Any] | Mapping[str, Any]) -> int:
    async with await connected(Settings.read(), "keys") as connection:
        cursor = await connection.execute(statement.encode(), values)
        return cursor.rowcount


async def _rows() -> list[tuple[Any, ...]]:
    async with await connected(Settings.read(), "keys") as connection:
        cursor = await connection.execute(_LIST)
        return await cursor.fetchall()
