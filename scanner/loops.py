"""The two loops of the scanner: over unresolved rows, and over what follows merges and erasures."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from psycopg import AsyncConnection

from merganser.identity import forget, store
from merganser.identity import metrics as identity_metrics
from merganser.runtime import isolation, metrics, set_aside
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.set_aside import Item, Kind
from merganser.runtime.settings import ScannerSettings
from scanner import deleted_events
from scanner.scan import START, Place, Scan, Scanned

log = structlog.get_logger(__name__)

EXPIRED = 5000
"""Deleted events that one transaction forgets."""

CHUNKS_INTERVAL = 1.0
"""Seconds between looks for moves and erasures: events should follow a merge soon."""


class Rows:
    """Resolves the rows that other systems wrote."""

    def __init__(self, database: Database, settings: ScannerSettings, stop: Stop) -> None:
        self._database = database
        self._interval = settings.scanner_interval
        self._held = settings.topic_holds
        self._scan = Scan(settings.nobody_ids, settings.scanner_batch, settings.scanner_move)
        self._stop = stop

    async def run(self) -> None:
        """Every interval, resolve all rows that wait; a full batch is followed by the next at once.

        Raises:
            StoppedWhileWaiting: Postgres is away and the process is to stop.
        """
        while not self._stop.is_set():
            place, full = START, True
            while full and not self._stop.is_set():
                place, full = await self._step(place)
            await self._measure()
            await self._expire()
            await self._stop.wait(self._interval)

    async def _step(self, after: Place) -> tuple[Place, bool]:
        """Resolve one batch; the place after it, and whether it was full."""
        start = time.monotonic()
        try:
            scanned = await self._database.transact(
                lambda connection: self._scan.resolve(connection, after),
                self._stop,
                isolation.TRIES,
            )
        except Exception as error:
            if not isolation.blames_items(error):
                raise
            return await self._step_in_parts(after)
        _count(scanned, time.monotonic() - start)
        return scanned.place, scanned.claimed == self._scan.limit

    async def _step_in_parts(self, after: Place) -> tuple[Place, bool]:
        """The same for a batch with a row that makes it fail, and which is set aside."""
        guids, last = await self._database.transact(
            lambda connection: self._scan.next_rows(connection, after), self._stop
        )

        async def resolve(some: Sequence[str]) -> None:
            start = time.monotonic()
            tries = isolation.TRIES if len(some) == 1 else isolation.NARROWING_TRIES
            scanned = await self._database.transact(
                lambda connection: self._scan.resolve_these(connection, some), self._stop, tries
            )
            _count(scanned, time.monotonic() - start)

        async def put(guid: str, error: Exception) -> None:
            await _set_aside(self._database, Kind.ROW, guid, "", error, self._stop)

        if guids:
            await isolation.narrow(guids, resolve, put)
        return last, len(guids) == self._scan.limit

    async def _expire(self) -> None:
        """Forget deleted events that the topic no longer holds."""
        held = self._held
        if held is None:
            return
        more = True
        while more and not self._stop.is_set():
            more = await self._database.transact(
                lambda connection: deleted_events.expire(connection, held, EXPIRED), self._stop
            )

    async def _measure(self) -> None:
        waiting = await self._database.transact(self._scan.waiting, self._stop)
        metrics.UNRESOLVED.set(waiting.resolvable)
        metrics.UNRESOLVED_AGE.set(waiting.oldest_seconds)
        metrics.UNRESOLVABLE.set(waiting.unresolvable)
        metrics.MOVES_PENDING.set(waiting.moves)
        for kind, count in waiting.set_aside.items():
            metrics.SET_ASIDE_OPEN.labels(kind).set(count)


class Chunks:
    """Moves the events of big merges and erases those of forgotten people, in chunks."""

    def __init__(self, database: Database, settings: ScannerSettings, stop: Stop) -> None:
        self._database = database
        self._at_most = settings.scanner_move
        self._stop = stop

    async def run(self) -> None:
        """Do what there is to do, chunk after chunk, until the process is to stop.

        Raises:
            StoppedWhileWaiting: Postgres is away and the process is to stop.
        """
        while not self._stop.is_set():
            moved = await self._move()
            metrics.EVENTS_MOVED.inc(moved or 0)
            erased = await self._erase()
            metrics.EVENTS_ERASED.inc(erased or 0)
            if moved is None and erased is None:
                await self._stop.wait(CHUNKS_INTERVAL)

    async def _move(self) -> int | None:
        """Move a chunk; None if there is no move to work on."""
        move: store.Move | None = None

        async def chunk(connection: AsyncConnection[Any]) -> int | None:
            nonlocal move
            move = await store.next_move(connection)
            return move and await store.move_chunk(connection, move, self._at_most)

        try:
            return await self._database.transact(chunk, self._stop, isolation.TRIES)
        except Exception as error:
            if move is None or not isolation.blames_items(error):
                raise
            await _set_aside(
                self._database, Kind.MOVE, move.loser, move.anonymous_id, error, self._stop
            )
            return 0

    async def _erase(self) -> int | None:
        """Erase a chunk; None if there is no erasure to work on."""
        profile: str | None = None

        async def chunk(connection: AsyncConnection[Any]) -> int | None:
            nonlocal profile
            profile = await forget.next_erasure(connection)
            if profile is None:
                return None
            return await forget.erase_chunk(connection, profile, self._at_most)

        try:
            return await self._database.transact(chunk, self._stop, isolation.TRIES)
        except Exception as error:
            if profile is None or not isolation.blames_items(error):
                raise
            await _set_aside(self._database, Kind.ERASURE, profile, "", error, self._stop)
            return 0


async def _set_aside(
    database: Database, kind: Kind, subject: str, place: str, error: Exception, stop: Stop
) -> None:
    item = Item(kind, subject, place, isolation.reason(error))
    await database.transact(lambda connection: set_aside.put(connection, [item]), stop)
    log.warning("set aside", kind=kind, reason=item.reason)


def _count(scanned: Scanned, seconds: float) -> None:
    metrics.SCANNED.inc(scanned.resolved)
    metrics.SUPPRESSED.inc(scanned.suppressed)
    if scanned.resolved:
        identity_metrics.count(scanned.plan, scanned.resolved, seconds)
    if scanned.claimed:
        log.info(
            "rows scanned",
            rows=scanned.claimed,
            resolved=scanned.resolved,
            suppressed=scanned.suppressed,
            merges=len(scanned.plan.merges),
            seconds=round(seconds, 3),
        )
