"""API keys: create, list, change and revoke them. Postgres stores only their hashes."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from merganser.admin.actions import Actor, record_action
from merganser.admin.errors import AdminError
from merganser.admin.key_terms import (
    Terms,
    check_name,
    check_rate,
    normalize_origins,
)
from merganser.http.authentication import PUBLISHABLE_PREFIX, KeyKind, hash_key
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "keys.sql")


class PermissionNotHeld(AdminError):
    """A key would have a permission that its creator lacks."""


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
    last_used_at: datetime | None
    """The last request to ingest within 30 days."""
    events: list[int]
    """Accepted by ingest in each of the last 24 hours, the oldest first."""
    refused: list[int]
    """Refused by ingest, likewise."""


class NewKey(NamedTuple):
    """A key that was just created."""

    guid: str
    secret: str
    """The key itself. Only its hash is stored, so it cannot be shown again."""


async def create_key(
    connection: Connection,
    actor: Actor,
    name: str,
    terms: Terms,
    held: Collection[str] | None = None,
) -> NewKey:
    """Create a key.

    Args:
        connection: in a transaction.
        actor: who creates it.
        name: what the key is for.
        terms: what the key allows.
        held: the permissions of the creator, who can give no others; None: all.

    Raises:
        InvalidKeyName: see `check_name`.
        InvalidRate: see `check_rate`.
        PermissionNotHeld: the creator lacks a permission.
    """
    check_name(name)
    if terms.rate is not None:
        check_rate(terms.rate)
    lacking = [] if held is None else sorted({*terms.permissions} - {*held})
    if lacking:
        raise PermissionNotHeld(
            f"you have no permission {', '.join(lacking)}, so you cannot give it to a key: "
            "`merganser keys create` can"
        )
    secret = terms.new_secret()
    return NewKey(await _store(connection, actor, name, secret, terms), secret)


async def ensure_key(
    connection: Connection, actor: Actor, name: str, secret_file: Path, terms: Terms
) -> None:
    """Store the key that a file holds; create file and key if there is no such file.

    A local stack calls this at each start, as its database may have been deleted.

    Args:
        connection: in a transaction.
        actor: who creates it.
        name: what the key is for.
        secret_file: has the key.
        terms: what the key allows.

    Raises:
        InvalidKeyName: see `check_name`.
        OtherKind: the file holds a key of the other kind.
        OSError: the file cannot be read or created.
    """
    check_name(name)
    secret = _read_or_create_secret(secret_file, terms)
    if secret.startswith(PUBLISHABLE_PREFIX) != (terms.kind is KeyKind.PUBLISHABLE):
        raise OtherKind(
            f"the key in {secret_file} is not a {terms.kind} key, and its kind never changes: "
            "name another file"
        )
    await _store(connection, actor, name, secret, terms)


async def list_keys(connection: Connection, limit: int | None = None) -> list[ApiKey]:
    """Return the keys, revoked ones too, the oldest first.

    Args:
        connection: to read with.
        limit: the most keys; the newest valid ones precede others. None: all.
    """
    cursor = await connection.execute(_SQL["list_keys"], {"limit": limit, "guid": None})
    return [ApiKey(*row) for row in await cursor.fetchall()]


async def read_key(connection: Connection, guid: str) -> ApiKey:
    """Return the key with a guid.

    Raises:
        KeyNotFound: there is none.
    """
    cursor = await connection.execute(_SQL["list_keys"], {"limit": 1, "guid": guid})
    row = await cursor.fetchone()
    if row is None:
        raise KeyNotFound(f"no key has the guid {guid!r}")
    return ApiKey(*row)


async def change_publishable_keys(
    connection: Connection,
    actor: Actor,
    guid_or_name: str,
    origins: Collection[str] | None = None,
    rate: float | None = None,
) -> int:
    """Change the publishable key with a guid, or all publishable keys with a name.

    Args:
        connection: in a transaction.
        actor: who changes them.
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
        "origins": None if origins is None else normalize_origins(origins),
        "rate": rate,
    }
    cursor = await connection.execute(_SQL["change_keys"], values)
    changed = await cursor.fetchall()
    if not changed:
        raise KeyNotFound(
            f"no valid publishable key has the guid or name {guid_or_name!r}: "
            "`merganser keys list` shows all keys"
        )
    for guid, name in changed:
        await record_action(connection, actor, "key changed", subject=f"{name} ({guid})")
    return len(changed)


async def revoke_keys(connection: Connection, actor: Actor, guid_or_name: str) -> int:
    """Revoke the key with a guid; if no key has this guid, all keys with this name.

    Args:
        connection: in a transaction.
        actor: who revokes them.
        guid_or_name: of the key.

    Returns:
        How many keys were revoked. Gateways refuse them within seconds.

    Raises:
        KeyNotFound: no valid key has this guid or name.
    """
    cursor = await connection.execute(_SQL["revoke_keys"], {"guid_or_name": guid_or_name})
    revoked = await cursor.fetchall()
    if not revoked:
        raise KeyNotFound(
            f"no valid key has the guid or name {guid_or_name!r}: "
            "`merganser keys list` shows all keys"
        )
    for guid, name in revoked:
        await record_action(connection, actor, "key revoked", subject=f"{name} ({guid})")
    return len(revoked)


def _read_or_create_secret(file: Path, terms: Terms) -> str:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    secret = terms.new_secret()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secret + "\n")
    return secret


async def _store(connection: Connection, actor: Actor, name: str, secret: str, terms: Terms) -> str:
    """Store a key, and return its guid."""
    values = {
        "name": name,
        "hash": hash_key(secret),
        "kind": terms.kind,
        "permissions": [str(permission) for permission in terms.permissions],
        "origins": list(terms.origins),
        "rate": terms.rate,
    }
    cursor = await connection.execute(_SQL["create_key"], values)
    ((guid, is_new),) = await cursor.fetchall()
    if is_new:
        await record_action(connection, actor, "key created", subject=f"{name} ({guid})")
    return str(guid)
