"""API keys: a copy of the table in memory, renewed every few seconds (design §7).

A known key costs no round trip, and a revoked one stops working when the copy is renewed. While
Postgres is away the keys known last go on working: ingest must not lose events because another
part rests. An unknown key is then answered 503, for it may be a new one.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from psycopg import AsyncConnection

from merganser.http.errors import Problem, Refused
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database

log = structlog.get_logger(__name__)


class Permission(StrEnum):
    """What a key may do."""

    WRITE_EVENTS = "events:write"
    """Add events; a key that stands in web pages has no other."""
    READ_EVENTS = "events:read"
    DELETE_EVENTS = "events:delete"
    READ_PROFILES = "profiles:read"


_ALL = 'SELECT "keyHash", guid, permissions FROM "apiKeys" WHERE "revokedAt" IS NULL'

NEW_KEY_SECONDS = 0.2
"""Between two reads: an unknown key has the copy renewed, so that a new key works at once; but
guessing keys must not load Postgres."""

UNKNOWN_SECONDS = 1.0
"""What an unknown key waits for Postgres at most."""


_FOUND_BY = 16
"""Characters of a hash that find its key; all of them are then compared in constant time."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is not revoked."""

    hashed: str
    guid: str
    permissions: frozenset[str]


def digest(secret: str) -> str:
    """What the table keeps of a key: random and long, it needs one round of SHA-256 only."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def of_header(authorization: bytes) -> str | None:
    """The key of an Authorization header: a Bearer, or the user of Basic; None if it has neither.

    Raises:
        Refused: UNAUTHORIZED, when it says Basic and is not.
    """
    scheme, _, credentials = authorization.decode("latin-1").partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            try:
                return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
            except ValueError:  # no base64, no text, or not even ASCII
                raise Refused(
                    Problem.UNAUTHORIZED, "the Authorization header is not valid Basic"
                ) from None
        case _:
            return None


class Keys:
    """The copy of the keys.

    Args:
        database: read by nobody else at the same time.
        interval: seconds between two reads.
        stop: ends the reading.
        elsewhere: where a request may have its key beside the Authorization header, for messages.
    """

    def __init__(self, database: Database, interval: float, stop: Stop, elsewhere: str) -> None:
        self._database = database
        self._interval = interval
        self._stop = stop
        self._elsewhere = elsewhere
        self._keys: dict[str, Key] = {}
        self._renewed_at = float("-inf")
        """When the read that made this copy started."""
        self._renewing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Renew the copy every interval until the process stops."""
        try:
            while not await self._stop.wait(self._interval):
                await self._renewal()
        except StoppedWhileWaiting:
            log.info("stopped while Postgres was away")

    async def load(self) -> None:
        """Read the keys for the first time; waits for Postgres."""
        await self._renewal()

    async def authorize(self, secret: str | None, permission: Permission) -> Key:
        """The key of a secret.

        Raises:
            Refused: UNAUTHORIZED, FORBIDDEN, or UNAVAILABLE when it cannot be told.
        """
        if not secret:
            raise Refused(
                Problem.UNAUTHORIZED,
                f"no API key: send {self._elsewhere}, or the header Authorization: Bearer KEY",
            )
        hashed = digest(secret)
        key = self._known(hashed)
        if key is None:
            await self._renew_for_unknown()
            key = self._known(hashed)
        if key is None:
            raise Refused(Problem.UNAUTHORIZED, "this API key is unknown or was revoked")
        if permission not in key.permissions:
            raise Refused(Problem.FORBIDDEN, f"this API key has no permission {permission}")
        return key

    def _known(self, hashed: str) -> Key | None:
        key = self._keys.get(hashed[:_FOUND_BY])
        return key if key and hmac.compare_digest(key.hashed, hashed) else None

    def why_not_ready(self) -> str | None:
        """Ready once the keys were read; later Postgres may be away for a while."""
        return None if self._renewed_at > 0 else "the API keys have not been read yet"

    def age(self) -> float:
        """Seconds since the copy was made."""
        return time.monotonic() - self._renewed_at

    async def _renew_for_unknown(self) -> None:
        """Have the copy renewed by a read that starts after this request came.

        Raises:
            Refused: UNAVAILABLE when that takes too long. The read goes on for those who come next.
        """
        asked = time.monotonic()
        deadline = asked + UNKNOWN_SECONDS
        while self._renewed_at < asked and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait({self._renewal()}, timeout=left)
        if self._renewed_at < asked:
            raise Refused(Problem.UNAVAILABLE, "keys cannot be checked at the moment: try again")

    def _renewal(self) -> "asyncio.Task[None]":
        """The renewal under way, or a new one: never two at once."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        return self._renewing

    async def _renew(self) -> None:
        await self._stop.wait(self._renewed_at + NEW_KEY_SECONDS - time.monotonic())
        start = time.monotonic()
        self._keys = await self._database.transact(_read, self._stop)
        self._renewed_at = start


async def _read(connection: AsyncConnection[Any]) -> dict[str, Key]:
    cursor = await connection.execute(_ALL)
    return {
        hashed[:_FOUND_BY]: Key(hashed, guid, frozenset(permissions))
        for hashed, guid, permissions in await cursor.fetchall()
    }
