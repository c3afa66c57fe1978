"""API keys: create, list and revoke them. Postgres stores only their hashes."""

import os
import secrets
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.http.authentication import Permission, hash_key
from merganser.runtime import sql
from merganser.runtime.settings import Settings
from schemas.ids import WHITE_SPACE

_SQL = sql.load(__package__, "keys.sql")

LONGEST_NAME = 191
"""Characters of a key's name."""


class InvalidKeyName(AdminError):
    """A key cannot have this name."""


class KeyNotFound(AdminError):
    """No valid key has this guid or name."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key, without its secret."""

    guid: str
    name: str
    permissions: list[str]
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


async def create_key(settings: Settings, name: str, permissions: Collection[Permission]) -> str:
    """Create a key and return it: only its hash is stored, so it cannot be shown again.

    Raises:
        InvalidKeyName: see `check_name`.
    """
    check_name(name)
    secret = _new_secret()
    await _store(settings, name, secret, permissions)
    return secret


async def ensure_key(
    settings: Settings, name: str, secret_file: Path, permissions: Collection[Permission]
) -> None:
    """Store the key that a file holds; create file and key if there is no such file.

    A local stack calls this at each start, as its database may have been deleted.

    Raises:
        InvalidKeyName: see `check_name`.
        OSError: the file cannot be read or created.
    """
    check_name(name)
    await _store(settings, name, _read_or_create_secret(secret_file), permissions)


async def list_keys(settings: Settings) -> list[ApiKey]:
    """Return all keys, revoked ones too, the oldest first."""
    async with open_connection(settings, "keys") as connection:
        cursor = await connection.execute(_SQL["list_keys"])
        return [ApiKey(*row) for row in await cursor.fetchall()]


async def revoke_keys(settings: Settings, guid_or_name: str) -> int:
    """Revoke the key with a guid, or all keys with a name.

    Returns:
        How many keys were revoked. Gateways refuse them within seconds.

    Raises:
        KeyNotFound: no valid key has this guid or name.
    """
    async with open_connection(settings, "keys") as connection:
        cursor = await connection.execute(_SQL["revoke_keys"], {"guid_or_name": guid_or_name})
    if cursor.rowcount == 0:
        raise KeyNotFound(
            f"no valid key has the guid or name {guid_or_name!r}: "
            "`merganser keys list` shows all keys"
        )
    return cursor.rowcount


def _new_secret() -> str:
    # 256 random bits cannot be guessed, so the hash needs neither salt nor stretching.
    return "mk_" + secrets.token_urlsafe(32)


def _read_or_create_secret(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    secret = _new_secret()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secret + "\n")
    return secret


async def _store(
    settings: Settings, name: str, secret: str, permissions: Collection[Permission]
) -> None:
    values = {
        "name": name,
        "hash": hash_key(secret),
        "permissions": [str(permission) for permission in permissions],
    }
    async with open_connection(settings, "keys") as connection:
        await connection.execute(_SQL["create_key"], values)
