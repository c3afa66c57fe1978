"""API keys: create, list, change and revoke them. Postgres stores only their hashes."""

import os
import secrets
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.http.authentication import PUBLISHABLE_PREFIX, KeyKind, Permission, hash_key
from merganser.http.origins import normalize_origin
from merganser.runtime import sql
from merganser.runtime.postgres import Connection
from merganser.runtime.settings import Settings
from schemas.ids import WHITE_SPACE

_SQL = sql.load(__package__, "keys.sql")

LONGEST_NAME = 191
"""Characters of a key's name."""

PUBLISHABLE_RATE = 100.0
"""Events per second of a publishable key that is created without a rate. That is 8.6 million events
a day in each ingest process: more than most sites send, and little enough that a stranger who uses
the key neither takes all of ingest nor fills the disk within days."""


class InvalidKeyName(AdminError):
    """A key cannot have this name."""


class InvalidOrigin(AdminError):
    """A publishable key cannot have this origin."""


class OtherKind(AdminError):
    """A file holds a key of the other kind."""


class KeyNotFound(AdminError):
    """No valid key has this guid or name."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key, without its secret."""

    guid: str
    name: str
    kind: str
    permissions: list[str]
    origins: list[str]
    rate: float | None
    """Events per second in one ingest process; None: MERGANSER_INGEST_RATE."""
    created_at: datetime
    revoked_at: datetime | None
    """None while the key is valid."""


def check_name(name: str) -> None:
    """Check a key's name.

    Raises:
        InvalidKeyName: it is blank, too long or has control characters.
    """
    if not name.strip(WHITE_SPACE):
        raise InvalidKeyName("the name of a key is blank: give one that says what the key is for")
    if len(name) > LONGEST_NAME:
        raise InvalidKeyName(
            f"the name of a key has {len(name)} characters; at most {LONGEST_NAME} are allowed"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidKeyName("the name of a key has control characters: remove them")


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a key allows."""

    kind: KeyKind
    permissions: Collection[Permission]
    origins: Collection[str] = ()
    rate: float | None = None

    def new_secret(self) -> str:
        # 256 random bits cannot be guessed, so the hash needs neither salt nor stretching.
        prefix = PUBLISHABLE_PREFIX if self.kind is KeyKind.PUBLISHABLE else "mk_"
        return prefix + secrets.token_urlsafe(32)


async def create_key(
    settings: Settings,
    actor: Actor,
    name: str,
    permissions: Collection[Permission],
    rate: float | None = None,
) -> str:
    """Create a secret key and return it: only its hash is stored, so it cannot be shown again.

    Args:
        settings: the database's URL.
        actor: who creates it.
        name: what the key is for.
        permissions: what the key allows.
        rate: events per second in one ingest process; None: MERGANSER_INGEST_RATE.

    Raises:
        InvalidKeyName: see `check_name`.
    """
    return await _create(settings, actor, name, _Terms(KeyKind.SECRET, permissions, rate=rate))


async def create_publishable_key(
    settings: Settings,
    actor: Actor,
    name: str,
    origins: Collection[str] = (),
    rate: float = PUBLISHABLE_RATE,
) -> str:
    """Create a publishable key, for web pages and apps, and return it.

    Args:
        settings: the database's URL.
        actor: who creates it.
        name: what the key is for.
        origins: of the pages that may use the key; empty: pages of any origin.
        rate: events per second in one ingest process.

    Raises:
        InvalidKeyName: see `check_name`.
        InvalidOrigin: see `check_origin`.
    """
    return await _create(settings, actor, name, _publishable_terms(origins, rate))


async def ensure_key(
    settings: Settings,
    actor: Actor,
    name: str,
    secret_file: Path,
    permissions: Collection[Permission],
) -> None:
    """Store the secret key that a file holds; create file and key if there is no such file.

    A local stack calls this at each start, as its database may have been deleted.

    Raises:
        InvalidKeyName: see `check_name`.
        OtherKind: the file holds a publishable key.
        OSError: the file cannot be read or created.
    """
    await _ensure(settings, actor, name, secret_file, _Terms(KeyKind.SECRET, permissions))


async def ensure_publishable_key(
    settings: Settings, actor: Actor, name: str, secret_file: Path
) -> None:
    """Store the publishable key that a file holds, as `ensure_key` does.

    Raises:
        InvalidKeyName: see `check_name`.
        OtherKind: the file holds a secret key.
        OSError: the file cannot be read or created.
    """
    await _ensure(settings, actor, name, secret_file, _publishable_terms((), PUBLISHABLE_RATE))


async def list_keys(settings: Settings) -> list[ApiKey]:
    """Return all keys, revoked ones too, the oldest first."""
    async with open_connection(settings, "keys") as connection:
        cursor = await connection.execute(_SQL["list_keys"])
        return [ApiKey(*row) for row in await cursor.fetchall()]


async def read_key_names(connection: Connection, most: int) -> dict[str, str]:
    """Return the names of the newest keys by their guids, also of revoked ones."""
    cursor = await connection.execute(_SQL["read_key_names"], {"most": most})
    return dict(await cursor.fetchall())


async def change_publishable_keys(
    settings: Settings,
    actor: Actor,
    guid_or_name: str,
    origins: Collection[str] | None = None,
    rate: float | None = None,
) -> int:
    """Change the publishable key with a guid, or all publishable keys with a name.

    Args:
        settings: the database's URL.
        actor: who changes it.
        guid_or_name: of the key.
        origins: of the pages that may use the key; empty: pages of any origin; None: as before.
        rate: events per second in one ingest process; None: as before.

    Returns:
        How many keys were changed. Gateways follow within seconds.

    Raises:
        InvalidOrigin: see `check_origin`.
        KeyNotFound: no valid publishable key has this guid or name.
    """
    values = {
        "guid_or_name": guid_or_name,
        "origins": None if origins is None else _normalize(origins),
        "rate": rate,
    }
    async with open_connection(settings, "keys") as connection, connection.transaction():
        cursor = await connection.execute(_SQL["change_keys"], values)
        await _record(connection, actor, "key changed", await cursor.fetchall())
    if cursor.rowcount == 0:
        raise KeyNotFound(
            f"no valid publishable key has the guid or name {guid_or_name!r}: "
            "`merganser keys list` shows all keys"
        )
    return cursor.rowcount


async def revoke_keys(settings: Settings, actor: Actor, guid_or_name: str) -> int:
    """Revoke the key with a guid, or all keys with a name.

    Returns:
        How many keys were revoked. Gateways refuse them within seconds.

    Raises:
        KeyNotFound: no valid key has this guid or name.
    """
    async with open_connection(settings, "keys") as connection, connection.transaction():
        cursor = await connection.execute(_SQL["revoke_keys"], {"guid_or_name": guid_or_name})
        await _record(connection, actor, "key revoked", await cursor.fetchall())
    if cursor.rowcount == 0:
        raise KeyNotFound(
            f"no valid key has the guid or name {guid_or_name!r}: "
            "`merganser keys list` shows all keys"
        )
    return cursor.rowcount


def check_origin(text: str) -> str:
    """Return an origin as a browser writes it.

    Raises:
        InvalidOrigin: it is not an origin.
    """
    try:
        return normalize_origin(text)
    except ValueError as error:
        raise InvalidOrigin(str(error)) from None


def _publishable_terms(origins: Collection[str], rate: float) -> _Terms:
    return _Terms(KeyKind.PUBLISHABLE, [Permission.WRITE_EVENTS], _normalize(origins), rate)


def _normalize(origins: Collection[str]) -> list[str]:
    return sorted({check_origin(origin) for origin in origins})


async def _create(settings: Settings, actor: Actor, name: str, terms: _Terms) -> str:
    check_name(name)
    secret = terms.new_secret()
    await _store(settings, actor, name, secret, terms)
    return secret


async def _ensure(
    settings: Settings, actor: Actor, name: str, secret_file: Path, terms: _Terms
) -> None:
    check_name(name)
    secret = _read_or_create_secret(secret_file, terms)
    if secret.startswith(PUBLISHABLE_PREFIX) != (terms.kind is KeyKind.PUBLISHABLE):
        raise OtherKind(
            f"the key in {secret_file} is not a {terms.kind} key, and its kind never changes: "
            "name another file"
        )
    await _store(settings, actor, name, secret, terms)


def _read_or_create_secret(file: Path, terms: _Terms) -> str:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    secret = terms.new_secret()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secret + "\n")
    return secret


async def _store(settings: Settings, actor: Actor, name: str, secret: str, terms: _Terms) -> None:
    values = {
        "name": name,
        "hash": hash_key(secret),
        "kind": terms.kind,
        "permissions": [str(permission) for permission in terms.permissions],
        "origins": list(terms.origins),
        "rate": terms.rate,
    }
    async with open_connection(settings, "keys") as connection, connection.transaction():
        cursor = await connection.execute(_SQL["create_key"], values)
        guid, is_new = await cursor.fetchone() or ("", False)
        if is_new:
            await _record(connection, actor, "key created", [(guid, name)])


async def _record(
    connection: AsyncConnection[Any], actor: Actor, action: str, keys: Collection[tuple[str, str]]
) -> None:
    """Write an action for each key, given by guid and name."""
    for guid, name in keys:
        await record_action(connection, actor, action, subject=f"{name} ({guid})")
