"""`many-ids`: time batches as one user gets 10,000 devices, or 10,000 users share one device."""

import asyncio
from collections.abc import Callable

from dev.bench import servers
from dev.bench.batches import EventIds, TimedWriter
from dev.bench.table import milliseconds, show
from merganser.runtime.postgres import BY_KEY, connect

IDS = 10_000
STEP = 100
"""New ids per batch, for 100 batches."""


def main() -> None:
    """Print the first, a middle and the last batches of each case."""
    with servers.running(kafka=False) as running, servers.database(running) as url:
        asyncio.run(_measure(url))


async def _measure(url: str) -> None:
    rows = []
    for name, make_event in CASES.items():
        async with await connect(url, "bench", BY_KEY) as connection:
            timed = TimedWriter(connection, name)
            # Before the measurement, each device has an event and the shared one has a thousand.
            await timed.write([EventIds(n, None, f"{name}-device-{n}") for n in range(IDS)])
            await timed.write([EventIds(n, None, f"{name}-shared") for n in range(1000)])
            timed.seconds.clear()
            for start in range(0, IDS, STEP):
                await timed.write([make_event(name, n) for n in range(start, start + STEP)])
        tenth = len(timed.seconds) // 10
        first, last = timed.seconds[:tenth], timed.seconds[-tenth:]
        rows.append(
            (
                name,
                *map(milliseconds, (first, timed.seconds, last)),
                f"{max(timed.seconds) * 1000:.1f}",
            )
        )
    show(
        f"milliseconds per batch of {STEP}, median",
        ("case", "first 10", "all", "last 10", "slowest"),
        rows,
    )


CASES: dict[str, Callable[[str, int], EventIds]] = {
    "one user, 10,000 devices": lambda name, n: EventIds(IDS + n, name, f"{name}-device-{n}"),
    "one device, 10,000 users": lambda name, n: EventIds(IDS + n, f"{name}-{n}", f"{name}-shared"),
    # Each link is earlier than the previous one, so the thousand events move with each batch.
    "one device, 10,000 users, each earlier": lambda name, n: EventIds(
        -n, f"{name}-{n}", f"{name}-shared"
    ),
}
