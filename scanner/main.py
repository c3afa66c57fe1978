"""The scanner process: a pass over the unresolved rows every interval, and moves as they come."""

import asyncio
import time
from typing import Any

import structlog
from psycopg import AsyncConnection

from profiles import erasure, measures, store
from runtime import lifecycle, logs, metrics
from runtime.lifecycle import Stop
from runtime.ops import ops_server
from runtime.postgres import Database
from runtime.settings import ScannerSettings
from scanner import deleted_events
from scanner.scan import START, Place, Scan, Scanned
from schemas import migrations

log = structlog.get_logger(__name__)

EXPIRED = 5000
"""Deleted events that one transaction forgets."""

MOVES_INTERVAL = 1.0
"""Seconds between looks for moves of big merges: their events should follow soon."""


async def scan(database: Database, settings: ScannerSettings, stop: Stop) -> None:
    """Every interval, resolve all rows that wait; a full batch is followed by the next at once."""
    work = Scan(settings.nobody_ids, settings.scanner_batch, settings.scanner_move)
    while not stop.is_set():
        place, full = START, True
        while full and not stop.is_set():
            start = time.monotonic()
            scanned = await _step(database, work, place, stop)
            place, full = scanned.place, scanned.claimed == settings.scanner_batch
            seconds = time.monotonic() - start
            metrics.SCANNED.inc(scanned.resolved)
            metrics.SUPPRESSED.inc(scanned.suppressed)
            if scanned.resolved:
                measures.count(scanned.plan, scanned.resolved, seconds)
            if scanned.claimed:
                log.info(
                    "rows scanned",
                    rows=scanned.claimed,
                    resolved=scanned.resolved,
                    suppressed=scanned.suppressed,
                    merges=len(scanned.plan.merges),
                    seconds=round(seconds, 3),
                )
        waiting = await database.transact(work.waiting, stop)
        metrics.UNRESOLVED.set(waiting.resolvable)
        metrics.UNRESOLVED_AGE.set(waiting.oldest_seconds)
        metrics.UNRESOLVABLE.set(waiting.unresolvable)
        metrics.MOVES_PENDING.set(waiting.moves)
        await _expire(database, settings, stop)
        await stop.wait(settings.scanner_interval)


async def _step(database: Database, work: Scan, place: Place, stop: Stop) -> Scanned:
    async def resolve(connection: AsyncConnection[Any]) -> Scanned:
        return await work.resolve(connection, place)

    return await database.transact(resolve, stop)


async def _expire(database: Database, settings: ScannerSettings, stop: Stop) -> None:
    held = settings.topic_holds
    if held is None:
        return

    async def expire(connection: AsyncConnection[Any]) -> bool:
        return await deleted_events.expire(connection, held, EXPIRED)

    while not stop.is_set() and await database.transact(expire, stop):
        pass


async def move(database: Database, settings: ScannerSettings, stop: Stop) -> None:
    """Bring the events of big merges home and erase those of the forgotten, in chunks."""

    async def chunk(connection: AsyncConnection[Any]) -> int | None:
        return await store.move_chunk(connection, settings.scanner_move)

    async def erase(connection: AsyncConnection[Any]) -> int | None:
        return await erasure.erase_chunk(connection, settings.scanner_move)

    while not stop.is_set():
        moved = await database.transact(chunk, stop)
        metrics.EVENTS_MOVED.inc(moved or 0)
        erased = await database.transact(erase, stop)
        metrics.EVENTS_ERASED.inc(erased or 0)
        if moved is None and erased is None:
            await stop.wait(MOVES_INTERVAL)


async def _main(settings: ScannerSettings, stop: Stop) -> None:
    log.info("starting", interval=settings.scanner_interval)
    url = settings.database_url.get_secret_value()
    scanning, moving = Database(url, "scanner"), Database(url, "scanner moves")
    ops = ops_server(
        settings.ops_host,
        settings.scanner_metrics_port,
        metrics.SCANNER,
        {"postgres": lambda: scanning.failure or moving.failure},
    )
    serving = asyncio.create_task(ops.serve())
    try:
        await scanning.transact(migrations.check, stop)
        async with asyncio.TaskGroup() as loops:
            loops.create_task(scan(scanning, settings, stop))
            loops.create_task(move(moving, settings, stop))
    finally:
        await scanning.close()
        await moving.close()
        ops.should_exit = True
        await serving
        log.info("stopped")


def main() -> None:
    """Run the scanner until a signal."""
    settings = ScannerSettings.read()
    logs.configure(settings, "scanner")
    lifecycle.run(lambda stop: _main(settings, stop))
