"""API keys: a copy of the table in memory, renewed every few seconds (design §7).

A known key costs no round trip, and a revoked one stops working when the copy is renewed. While
Postgres is away the keys known last go on working: ingest must not lose events because another
part rests. An unknown key is then answered 503, for it may be a new one.
"""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any

import structlog
from psycopg import AsyncConnection

from ingest.refusals import Problem, Refused
from runtime import metrics
from runtime.lifecycle import Stop, StoppedWhileWaiting
from runtime.postgres import Database

log = structlog.get_logger(__name__)

WRITE = "events:write"

_ALL = 'SELECT "keyHash", guid, permissions FROM "apiKeys" WHERE "revokedAt" IS NULL'

NEW_KEY_SECONDS = 0.2
"""Between two reads: an unknown key has the copy renewed, so that a new key works at once; but
guessing keys must not load Postgres."""

UNKNOWN_SECONDS = 1.0
"""What an unknown key waits for Postgres at most."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is not revoked."""

    guid: str
    permissions: frozenset[str]


def digest(secret: str) -> str:
    """What the table keeps of a key: random and long, it needs one round of SHA-256 only."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Keys:
    """The copy of the keys."""

    def __init__(self, database: Database, interval: float, stop: Stop) -> None:
        self._database = database
        self._interval = interval
        self._stop = stop
        self._keys: dict[str, Key] = {}
        self._renewed_at = float("-inf")
        """When the read that made this copy started."""
        self._renewing: asyncio.Task[None] | None = None
        metrics.KEYS_AGE.set_function(self._age)

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

    async def authorize(self, secret: str | None, permission: str) -> Key:
        """The key of a secret.

        A dict lookup by hash tells an attacker nothing by its timing that would help to guess a
        256-bit secret.

        Raises:
            Refused: UNAUTHORIZED, FORBIDDEN, or UNAVAILABLE when it cannot be told.
        """
        if not secret:
            raise Refused(
                Problem.UNAUTHORIZED,
                "no API key: send apiKey in the body, or the header Authorization: Bearer KEY",
            )
        hashed = digest(secret)
        key = self._keys.get(hashed)
        if key is None:
            await self._renew_for_unknown()
            key = self._keys.get(hashed)
        if key is None:
            raise Refused(Problem.UNAUTHORIZED, "this API key is unknown or was revoked")
        if permission not in key.permissions:
            raise Refused(Problem.FORBIDDEN, f"this API key has no permission {permission}")
        return key

    def why_not_ready(self) -> str | None:
        """Ready once the keys were read; later Postgres may be away for a while."""
        return None if self._renewed_at > 0 else "the API keys have not been read yet"

    def _age(self) -> float:
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
        hashed: Key(guid, frozenset(permissions))
        for hashed, guid, permissions in await cursor.fetchall()
    }
