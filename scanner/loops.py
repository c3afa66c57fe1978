"""The scanner's two loops: over unresolved rows, and over pending moves and erasures."""

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
from scanner.scan import SCAN_START, RowScanner, ScanCursor, ScannedRows

log = structlog.get_logger(__name__)

EXPIRED_PER_TRANSACTION = 5000
"""Entries of `"deletedEvents"` that one transaction deletes."""

CHUNKS_INTERVAL = 1.0
"""Seconds between looks for pending moves and erasures: events should follow a merge soon."""


class RowLoop:
    """Resolves the rows that other systems inserted."""

    def __init__(self, database: Database, settings: ScannerSettings, stop: Stop) -> None:
        self._database = database
        self._interval = settings.scanner_interval
        self._retention = settings.topic_holds
        self._scanner = RowScanner(
            settings.nobody_ids, settings.scanner_batch, settings.scanner_move
        )
        self._stop = stop

    async def run(self) -> None:
        """Resolve all rows every interval, batch by batch, until the process has to stop.

        Raises:
            StoppedWhileWaiting: Postgres is away and the process has to stop.
        """
        while not self._stop.is_set():
            cursor, is_full = SCAN_START, True
            while is_full and not self._stop.is_set():
                cursor, is_full = await self._resolve_batch(cursor)
            await self._measure_backlog()
            await self._expire_deleted_events()
            await self._stop.wait(self._interval)

    async def _resolve_batch(self, after: ScanCursor) -> tuple[ScanCursor, bool]:
        """Resolve the next rows; return the last of them, and whether the batch was full."""
        start = time.monotonic()
        try:
            scanned = await self._database.transact(
                lambda connection: self._scanner.resolve_next(connection, after),
                self._stop,
                isolation.TRIES,
            )
        except Exception as error:
            if not isolation.blames_items(error):
                raise
            return await self._resolve_batch_in_parts(after)
        _observe(scanned, time.monotonic() - start)
        return scanned.cursor, scanned.locked == self._scanner.batch_size

    async def _resolve_batch_in_parts(self, after: ScanCursor) -> tuple[ScanCursor, bool]:
        """Resolve the next rows like `_resolve_batch`, and set aside those that fail."""
        guids, last = await self._database.transact(
            lambda connection: self._scanner.list_next(connection, after), self._stop
        )

        async def resolve(part: Sequence[str]) -> None:
            start = time.monotonic()
            tries = isolation.TRIES if len(part) == 1 else isolation.NARROWING_TRIES
            scanned = await self._database.transact(
                lambda connection: self._scanner.resolve_rows(connection, part), self._stop, tries
            )
            _observe(scanned, time.monotonic() - start)

        async def set_row_aside(guid: str, error: Exception) -> None:
            await _set_aside(self._database, Kind.ROW, guid, "", error, self._stop)

        if guids:
            await isolation.narrow(guids, resolve, set_row_aside)
        return last, len(guids) == self._scanner.batch_size

    async def _expire_deleted_events(self) -> None:
        retention = self._retention
        if retention is None:
            return
        more = True
        while more and not self._stop.is_set():
            more = await self._database.transact(
                lambda connection: deleted_events.expire(
                    connection, retention, EXPIRED_PER_TRANSACTION
                ),
                self._stop,
            )

    async def _measure_backlog(self) -> None:
        backlog = await self._database.transact(self._scanner.measure_backlog, self._stop)
        metrics.UNRESOLVED.set(backlog.resolvable)
        metrics.UNRESOLVED_AGE.set(backlog.oldest_seconds)
        metrics.UNRESOLVABLE.set(backlog.unresolvable)
        metrics.MOVES_PENDING.set(backlog.moves)
        for kind, count in backlog.set_aside.items():
            metrics.SET_ASIDE_OPEN.labels(kind).set(count)


class ChunkLoop:
    """Moves the events of large merges, and deletes those of forgotten people, in chunks."""

    def __init__(self, database: Database, settings: ScannerSettings, stop: Stop) -> None:
        self._database = database
        self._chunk_size = settings.scanner_move
        self._stop = stop

    async def run(self) -> None:
        """Work on pending moves and erasures, chunk by chunk, until the process has to stop.

        Raises:
            StoppedWhileWaiting: Postgres is away and the process has to stop.
        """
        while not self._stop.is_set():
            moved = await self._move_chunk()
            metrics.EVENTS_MOVED.inc(moved or 0)
            erased = await self._erase_chunk()
            metrics.EVENTS_ERASED.inc(erased or 0)
            if moved is None and erased is None:
                await self._stop.wait(CHUNKS_INTERVAL)

    async def _move_chunk(self) -> int | None:
        """Return how many events were moved, or None if no move is pending."""
        move: store.PendingMove | None = None

        async def move_chunk(connection: AsyncConnection[Any]) -> int | None:
            nonlocal move
            move = await store.lock_next_move(connection)
            return move and await store.move_chunk(connection, move, self._chunk_size)

        try:
            return await self._database.transact(move_chunk, self._stop, isolation.TRIES)
        except Exception as error:
            if move is None or not isolation.blames_items(error):
                raise
            await _set_aside(
                self._database, Kind.MOVE, move.loser, move.anonymous_id, error, self._stop
            )
            return 0

    async def _erase_chunk(self) -> int | None:
        """Return how many events were deleted, or None if no erasure is pending."""
        profile: str | None = None

        async def erase_chunk(connection: AsyncConnection[Any]) -> int | None:
            nonlocal profile
            profile = await forget.lock_next_erasure(connection)
            if profile is None:
                return None
            return await forget.erase_chunk(connection, profile, self._chunk_size, "scanner")

        try:
            return await self._database.transact(erase_chunk, self._stop, isolation.TRIES)
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


def _observe(scanned: ScannedRows, seconds: float) -> None:
    """Record a committed transaction in metrics and log."""
    metrics.SCANNED.inc(scanned.resolved)
    metrics.SUPPRESSED.inc(scanned.suppressed)
    if scanned.resolved:
        identity_metrics.count_plan(scanned.plan, scanned.resolved, seconds)
    if scanned.locked:
        log.info(
            "rows scanned",
            rows=scanned.locked,
            resolved=scanned.resolved,
            suppressed=scanned.suppressed,
            merges=len(scanned.plan.merges),
            seconds=round(seconds, 3),
        )
