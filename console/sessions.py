"""Sessions of the console, and links that log in once. Postgres has only hashes of their tokens.

A session has the hash of an API key. Each request looks that key up, so the session ends when the
key is revoked.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from merganser.http.authentication import hash_key
from merganser.runtime import sql

_SQL = sql.load(__package__, "sessions.sql")

MAX_TOKEN_LENGTH = 64
"""Characters. A longer one is not one of ours."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a session ends, in seconds."""

    idle: int
    """Without a request."""
    longest: int
    """Since the login."""


async def start_session(connection: AsyncConnection[Any], key_hash: str, lifetime: Lifetime) -> str:
    """Start a session of an API key and return its token. Delete sessions that have expired."""
    token = secrets.token_urlsafe(32)
    limits = {"idle": lifetime.idle, "longest": lifetime.longest}
    await connection.execute(_SQL["delete_expired_sessions"], limits)
    await connection.execute(_SQL["start_session"], {"token": hash_key(token), "key": key_hash})
    return token


async def read_session(
    connection: AsyncConnection[Any], token: str, lifetime: Lifetime, *, by_person: bool
) -> str | None:
    """Return the hash of a session's API key; None if there is no such session any more.

    Args:
        connection: in a transaction.
        token: of the session.
        lifetime: of any session.
        by_person: whether the request counts as use; a page that updates itself does not.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        return None
    values = {
        "token": hash_key(token),
        "idle": lifetime.idle,
        "longest": lifetime.longest,
    }
    row = await (await connection.execute(_SQL["read_session"], values)).fetchone()
    if row is None:
        return None
    key_hash, is_touch_due = row
    if by_person and is_touch_due:
        await connection.execute(_SQL["touch_session"], values)
    return str(key_hash)


async def end_session(connection: AsyncConnection[Any], token: str) -> None:
    """End a session."""
    await connection.execute(_SQL["end_session"], {"token": hash_key(token)})


async def use_login_link(connection: AsyncConnection[Any], token: str) -> str | None:
    """Return the hash of a link's API key; None if the link was used, has expired or never was."""
    if len(token) > MAX_TOKEN_LENGTH:
        return None
    cursor = await connection.execute(_SQL["use_link"], {"token": hash_key(token)})
    row = await cursor.fetchone()
    return str(row[0]) if row else None
