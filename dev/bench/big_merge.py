"""`big-merge`: a visitor with 1,000,000 events signs in. Time it, and other batches meanwhile."""

import asyncio
import time
from typing import Any

from psycopg import AsyncConnection

from dev.bench import servers
from dev.bench.batches import EventIds, TimedWriter
from dev.bench.table import milliseconds, show
from merganser.identity import store
from merganser.runtime.postgres import BY_KEY, connect

EVENTS = 1_000_000
CHUNK = 5_000

_HISTORY = """
WITH visitor AS (
    INSERT INTO "anonymousIds" ("anonymousId", "profileGuid") VALUES ('visitor', 'pro_visitor')
), profile AS (
    INSERT INTO profiles (guid) VALUES ('pro_visitor')
)
INSERT INTO events (type, "anonymousId", "profileGuid", "occurredAt")
SELECT 'pageview', 'visitor', 'pro_visitor', timestamptz '2026-01-01Z' + n * interval '1 second'
FROM generate_series(1, %s) AS n
"""


def main() -> None:
    """Print the time of the merge, and of other batches before and during it."""
    with servers.running(kafka=False) as running, servers.database(running) as url:
        asyncio.run(_measure(url))


async def _measure(url: str) -> None:
    async with (
        await connect(url, "bench", BY_KEY) as writer,
        await connect(url, "bench mover", BY_KEY) as mover,
    ):
        await writer.execute(_HISTORY, (EVENTS,))
        await writer.execute("VACUUM ANALYZE")
        visitor = TimedWriter(writer, "visitor")
        others = TimedWriter(writer, "others")
        await visitor.write([EventIds(0, "user", None)])
        for number in range(100):
            await others.write(_other_visitors(number))
        before, others.seconds = others.seconds, []

        await visitor.write([EventIds(1, "user", "visitor")])
        chunks: list[float] = []
        start = time.perf_counter()
        moving = asyncio.create_task(_move(mover, chunks))
        number = 100
        while not moving.done():
            await others.write(_other_visitors(number))
            number += 1
        await moving
        seconds = time.perf_counter() - start
    show(
        f"a merge of {EVENTS:,} events, chunks of {CHUNK:,}",
        ("what", "median ms", "slowest ms"),
        [
            ("the transaction that merges", milliseconds(visitor.seconds[-1:]), ""),
            ("a chunk of moved events", milliseconds(chunks), _slowest(chunks)),
            ("100 events of others, before", milliseconds(before), _slowest(before)),
            (
                "100 events of others, during the merge",
                milliseconds(others.seconds),
                _slowest(others.seconds),
            ),
            ("until all events are moved", f"{seconds * 1000:,.0f}", ""),
        ],
    )


async def _move(connection: AsyncConnection[Any], chunks: list[float]) -> None:
    moved: int | None = 0
    while moved is not None:
        start = time.perf_counter()
        async with connection.transaction():
            move = await store.lock_next_move(connection)
            moved = move and await store.move_chunk(connection, move, CHUNK)
        chunks.append(time.perf_counter() - start)


def _other_visitors(batch: int) -> list[EventIds]:
    return [EventIds(batch, None, f"other-{batch}-{n}") for n in range(100)]


def _slowest(seconds: list[float]) -> str:
    return f"{max(seconds) * 1000:.1f}"
