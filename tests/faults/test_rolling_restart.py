"""Three resolvers restart one after another: with static membership no partition moves.

The table that it prints (pytest -s) is in docs/runbook.md.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import equals, eventually

RATE = 200
"""Events a second."""
SESSION_SECONDS = 45
"""Longer than a restart on a busy machine."""


@dataclass
class EventStream:
    """Publishes events at a constant rate, and measures how many wait."""

    system: System
    stopping: bool = False
    sent: int = 0
    most_waiting: int = 0
    longest_stall: float = 0
    """The longest time in which no event was resolved although some waited, in seconds."""

    async def send(self) -> None:
        while not self.stopping:
            events = [event(user=f"u{self.sent + n}", kind="load") for n in range(RATE // 5)]
            await self.system.events.publish_events(events)
            self.sent += len(events)
            await asyncio.sleep(0.2)

    async def watch(self) -> None:
        last_stored, last_progress = 0, time.monotonic()
        while True:
            stored = await self.system.database.count("events")
            now = time.monotonic()
            if stored != last_stored or stored == self.sent:
                last_stored, last_progress = stored, now
            self.longest_stall = max(self.longest_stall, now - last_progress)
            self.most_waiting = max(self.most_waiting, self.sent - stored)
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def streaming(system: System) -> AsyncIterator[EventStream]:
    stream = EventStream(system)
    sending, watching = asyncio.create_task(stream.send()), asyncio.create_task(stream.watch())
    try:
        yield stream
    finally:
        stream.stopping = True
        await sending  # the last events count, too
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def partitions_of(resolver: Service) -> set[str]:
    """Return the partitions of a resolver, according to its metrics."""
    return {
        sample.labels["partition"]
        for family in (await resolver.metrics()).families
        if family.name == "merganser_resolver_lag_records"
        for sample in family.samples
    }


async def wait_until_shared(resolvers: list[Service]) -> list[set[str]]:
    async def assignments() -> list[set[str]]:
        return [await partitions_of(resolver) for resolver in resolvers]

    return await eventually(
        assignments,
        lambda parts: all(parts) and sum(map(len, parts)) == 4,
        within=90,
        what="each has some partitions",
    )


def count_assignments(resolver: Service) -> int:
    """Return how often partitions were assigned to a resolver."""
    return sum(line["event"] == "partitions assigned" for line in resolver.log_lines)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
async def test_a_rolling_restart(system: System, static: bool) -> None:  # noqa: FBT001 - a parameter
    resolvers = []
    for number in range(3):
        own = {"resolver_instance": f"resolver-{number}"} if static else {}
        resolvers.append(await system.resolver(resolver_session_timeout=SESSION_SECONDS, **own))
    before = await wait_until_shared(resolvers)
    async with streaming(system) as stream:
        await eventually(lambda: system.database.count("events"), lambda count: count > RATE)
        stream.most_waiting, stream.longest_stall = 0, 0
        start = time.monotonic()
        moved = 0
        for restarted in resolvers:
            others = [other for other in resolvers if other is not restarted]
            seen = [count_assignments(other) for other in others]
            assert await restarted.stop() == 0
            restarted.start()
            await restarted.ready()
            await wait_until_shared(resolvers)
            moved += sum(count_assignments(other) for other in others) - sum(seen)
        seconds = time.monotonic() - start
        after = await wait_until_shared(resolvers)
    await eventually(lambda: system.database.count("events"), equals(stream.sent), within=90)
    membership = "static" if static else "dynamic"
    print(  # noqa: T201 - the measurement
        f"\n{membership} membership: 3 resolvers restarted in {seconds:.0f} s at {RATE} events/s: "
        f"{moved} reassignments of others, most events waiting {stream.most_waiting}, "
        f"longest time in which nothing was resolved {stream.longest_stall:.1f} s"
    )
    if static:
        assert after == before
        assert moved == 0
    else:
        assert moved > 0
