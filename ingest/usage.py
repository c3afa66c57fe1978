"""Counts the events of each API key by hour, and adds the counts to the table every few seconds.

Requests only count in memory. While Postgres is away, the counts stay there and are added later.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from merganser.runtime import sql
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database, describe

log = structlog.get_logger(__name__)

_SQL = sql.load(__package__, "usage.sql")

INTERVAL_SECONDS = 10.0
"""Between two writes of one process."""

FINISH_SECONDS = 2.0
"""How long the last write may take when the process stops."""

MAX_COUNTS = 50_000
"""Counts of one key and hour that wait, about 15 MB. Beyond, the oldest are dropped."""

_HOUR = 3600

_Slot = tuple[int, str]
"""The hour since 1970, and the guid of a key."""


@dataclass(slots=True)
class _Count:
    events: int
    """Accepted."""
    refused: int
    used_at: float
    """Time of the last request, in seconds since 1970."""


class KeyUsage:
    """The counts that the table does not have yet.

    Args:
        database: used by nothing else at the same time.
        stop: ends `run`.
        interval: seconds between two writes.
    """

    def __init__(self, database: Database, stop: Stop, interval: float = INTERVAL_SECONDS) -> None:
        self._database = database
        self._stop = stop
        self._interval = interval
        self._counts: dict[_Slot, _Count] = {}
        self._dropped = 0

    def add(self, key_guid: str, accepted: int, refused: int) -> None:
        """Count the events of a request."""
        now = time.time()
        self._add((int(now) // _HOUR, key_guid), _Count(accepted, refused, now))

    async def run(self) -> None:
        """Write the counts every interval until the process stops."""
        try:
            while not await self._stop.wait(self._interval):
                try:
                    await self._write()
                except (
                    psycopg.Error
                ) as error:  # that another try does not fix, such as a missing grant
                    log.warning("cannot write the usage of API keys", error=describe(error))
        except StoppedWhileWaiting:
            log.info("stopped while Postgres was away")

    async def close(self) -> None:
        """Write the last counts, unless Postgres does not answer soon."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._write()
        except (TimeoutError, StoppedWhileWaiting, psycopg.Error):
            log.warning("stopped without writing the usage of API keys", counts=len(self._counts))

    async def _write(self) -> None:
        if self._dropped:
            log.warning("dropped the oldest counts of API keys", events=self._dropped)
            self._dropped = 0
        if not self._counts:
            return
        taken, self._counts = self._counts, {}
        try:
            # If the connection breaks during the commit, these counts may be added twice.
            await self._database.transact(partial(_add_counts, taken), self._stop)
        except BaseException:
            later, self._counts = self._counts, taken
            for slot, count in later.items():
                self._add(slot, count)
            raise

    def _add(self, slot: _Slot, more: _Count) -> None:
        count = self._counts.get(slot)
        if count is None:
            if len(self._counts) >= MAX_COUNTS:
                oldest = self._counts.pop(next(iter(self._counts)))
                self._dropped += oldest.events + oldest.refused
            self._counts[slot] = more
        else:
            count.events += more.events
            count.refused += more.refused
            count.used_at = more.used_at


async def _add_counts(counts: Mapping[_Slot, _Count], connection: AsyncConnection[Any]) -> None:
    values = {
        "hours": [hour for hour, _ in counts],
        "keys": [key for _, key in counts],
        "events": [count.events for count in counts.values()],
        "refused": [count.refused for count in counts.values()],
        "used": [count.used_at for count in counts.values()],
    }
    await connection.execute(_SQL["add_counts"], values)
