"""API keys: each process keeps a copy of the table in memory and refreshes it every few seconds.

A known key costs no query, and a revoked key stops working at the next refresh. While Postgres is
down, keys of the last copy still work, so that ingest loses no events. An unknown key is then
answered 503 instead of 401: it may be new.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from psycopg import AsyncConnection

from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import sql
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database

log = structlog.get_logger(__name__)


class Permission(StrEnum):
    """What a key may do."""

    WRITE_EVENTS = "events:write"
    """The only permission that a publishable key can have."""
    READ_EVENTS = "events:read"
    DELETE_EVENTS = "events:delete"
    READ_PROFILES = "profiles:read"
    CHANGE_LINKS = "links:write"
    """Say which events are links."""
    READ_CONSOLE = "console:read"
    """Log in to the console and look."""
    WRITE_CONSOLE = "console:write"
    """Log in to the console, look and act."""


CONSOLE_PERMISSIONS = (Permission.READ_CONSOLE, Permission.WRITE_CONSOLE)
"""Each of them logs in to the console."""


class KeyKind(StrEnum):
    """Who may know a key. The kind of a key never changes."""

    SECRET = "secret"  # noqa: S105 - the name of a kind
    """Only servers. It does what its permissions allow."""
    PUBLISHABLE = "publishable"
    """Anyone: it is in a web page or an app. It only sends events, whatever its permissions are."""


PUBLISHABLE_PREFIX = "mk_pub_"
"""Of a publishable key, for people who read it. The key's row says which kind it is."""

_SQL = sql.load(__package__, "authentication.sql")

MIN_REFRESH_SECONDS = 0.2
"""Between two refreshes. An unknown key starts one at once, so that a new key works immediately;
guessed keys must not load Postgres."""

UNKNOWN_KEY_SECONDS = 1.0
"""How long a request with an unknown key waits for the refresh."""

_LOOKUP_CHARACTERS = 16
"""Of a hash. They find the key; a comparison in constant time then covers the whole hash."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is not revoked."""

    key_hash: str
    guid: str
    permissions: frozenset[str]
    kind: KeyKind = KeyKind.SECRET
    origins: frozenset[str] = frozenset()
    """The origins of the pages that may use it; empty: pages of any origin."""
    rate: float | None = None
    """Most events per second in one process; None: the process's setting."""
    name: str = ""
    """What the key is for."""


def hash_key(secret: str) -> str:
    """Return what the table stores of a key. Keys are long and random: one SHA-256 is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def key_from_header(authorization: bytes) -> str | None:
    """Return the key of an Authorization header, or None if it has none.

    A Bearer token is the key; with Basic, the user name is.

    Raises:
        HttpError: UNAUTHORIZED, if Basic credentials cannot be decoded.
    """
    scheme, _, credentials = authorization.decode("latin-1").partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            try:
                return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
            except ValueError:  # not base64, or not text, or not even ASCII
                raise HttpError(
                    ErrorKind.UNAUTHORIZED, "the Authorization header is not valid Basic"
                ) from None
        case _:
            return None


class ApiKeys:
    """The copy of the keys.

    Args:
        database: used by nothing else at the same time.
        interval: seconds between two refreshes.
        stop: stops the refreshes.
        key_hint: where else than in the Authorization header a request may have its key, for error
            messages.
    """

    def __init__(self, database: Database, interval: float, stop: Stop, key_hint: str) -> None:
        self._database = database
        self._interval = interval
        self._stop = stop
        self._key_hint = key_hint
        self._keys: dict[str, ApiKey] = {}
        self._read_at = float("-inf")
        """When the query for the current copy started, in monotonic seconds."""
        self._refreshing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Refresh the copy every interval until the process stops."""
        try:
            while not await self._stop.wait(self._interval):
                await self._refresh_task()
        except StoppedWhileWaiting:
            log.info("stopped while Postgres was away")

    async def load(self) -> None:
        """Read the keys for the first time. Wait for Postgres as long as it takes."""
        await self._refresh_task()

    async def authorize(self, secret: str | None, permission: Permission) -> ApiKey:
        """Return the key of a secret, which must have a permission.

        Raises:
            HttpError: see `identify` and `check_permission`.
        """
        key = await self.identify(secret)
        check_permission(key, permission)
        return key

    async def identify(self, secret: str | None) -> ApiKey:
        """Return the key of a secret, whatever it permits.

        Raises:
            HttpError: UNAUTHORIZED; UNAVAILABLE, if the key is unknown and Postgres does not
                answer.
        """
        if not secret:
            raise HttpError(
                ErrorKind.UNAUTHORIZED,
                f"no API key: send {self._key_hint}, or the header Authorization: Bearer KEY",
            )
        return await self.find(hash_key(secret))

    async def find(self, key_hash: str) -> ApiKey:
        """Return the key with a hash.

        Raises:
            HttpError: UNAUTHORIZED; UNAVAILABLE, if it is unknown and Postgres does not answer.
        """
        key = self._find(key_hash)
        if key is None:
            await self._refresh_for_unknown_key()
            key = self._find(key_hash)
        if key is None:
            raise HttpError(ErrorKind.UNAUTHORIZED, "this API key is unknown or was revoked")
        return key

    def _find(self, key_hash: str) -> ApiKey | None:
        key = self._keys.get(key_hash[:_LOOKUP_CHARACTERS])
        return key if key and hmac.compare_digest(key.key_hash, key_hash) else None

    def why_not_ready(self) -> str | None:
        """Return None once the keys have been read, even if Postgres is down later."""
        return None if self._read_at > 0 else "the API keys have not been read yet"

    def age(self) -> float:
        """Return the seconds since the copy was read."""
        return time.monotonic() - self._read_at

    async def _refresh_for_unknown_key(self) -> None:
        """Wait for a refresh that starts after this request arrived.

        Raises:
            HttpError: UNAVAILABLE, if that takes too long. The refresh goes on for later requests.
        """
        arrived_at = time.monotonic()
        deadline = arrived_at + UNKNOWN_KEY_SECONDS
        while self._read_at < arrived_at and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait({self._refresh_task()}, timeout=left)
        if self._read_at < arrived_at:
            raise HttpError(
                ErrorKind.UNAVAILABLE, "keys cannot be checked at the moment: try again"
            )

    def _refresh_task(self) -> "asyncio.Task[None]":
        """Return the current refresh, or start one: never two at the same time."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        return self._refreshing

    async def _refresh(self) -> None:
        await self._stop.wait(self._read_at + MIN_REFRESH_SECONDS - time.monotonic())
        start = time.monotonic()
        self._keys = await self._database.transact(_read_keys, self._stop)
        self._read_at = start


def check_permission(key: ApiKey, permission: Permission) -> None:
    """Check that a key has a permission.

    Raises:
        HttpError: FORBIDDEN.
    """
    if permission in key.permissions:
        return
    if key.kind is KeyKind.PUBLISHABLE:
        text = "this is a publishable key, which only sends events: use a secret key"
    else:
        text = f"this API key has no permission {permission}"
    raise HttpError(ErrorKind.FORBIDDEN, text)


async def _read_keys(connection: AsyncConnection[Any]) -> dict[str, ApiKey]:
    cursor = await connection.execute(_SQL["read_keys"])
    return {row[0][:_LOOKUP_CHARACTERS]: _key(*row) for row in await cursor.fetchall()}


def _key(
    key_hash: str,
    guid: str,
    permissions: Iterable[str],
    kind: str,
    origins: Iterable[str],
    rate: float | None,
    name: str,
) -> ApiKey:
    allowed = frozenset(permissions)
    if kind == KeyKind.SECRET:
        return ApiKey(key_hash, guid, allowed, rate=rate, name=name)
    # The table has the same constraint. Anyone may have this key, so it does not depend on that.
    allowed &= {Permission.WRITE_EVENTS}
    return ApiKey(key_hash, guid, allowed, KeyKind.PUBLISHABLE, frozenset(origins), rate, name)
