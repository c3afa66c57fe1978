"""Three resolvers under load, restarted one after another: with static membership nothing moves.

The table that it prints (pytest -s) is in docs/runbook.md.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

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
class Load:
    """Events all the time, and how many wait."""

    system: System
    ending: bool = False
    sent: int = 0
    worst: int = 0
    stalled: float = 0
    """The longest time in which no event was resolved while some waited, in seconds."""
    _still: tuple[int, float] = field(default=(0, 0))

    async def send(self) -> None:
        while not self.ending:
            events = [event(user=f"u{self.sent + n}", kind="load") for n in range(RATE // 5)]
            await self.system.events.publish_events(events)
            self.sent += len(events)
            await asyncio.sleep(0.2)

    async def watch(self) -> None:
        while True:
            stored = await self.system.database.count("events")
            now = time.monotonic()
            if stored != self._still[0] or stored == self.sent:
                self._still = (stored, now)
            self.stalled = max(self.stalled, now - self._still[1])
            self.worst = max(self.worst, self.sent - stored)
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def load(system: System) -> AsyncIterator[Load]:
    made = Load(system)
    made._still = (0, time.monotonic())  # noqa: SLF001 - its own factory
    sending, watching = asyncio.create_task(made.send()), asyncio.create_task(made.watch())
    try:
        yield made
    finally:
        made.ending = True
        await sending  # events that are on their way count
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def held(resolver: Service) -> set[str]:
    """The partitions that a resolver has, by its own account."""
    return {
        sample.labels["partition"]
        for family in (await resolver.metrics()).families
        if family.name == "merganser_resolver_lag_records"
        for sample in family.samples
    }


async def shared_out(resolvers: list[Service]) -> list[set[str]]:
    async def all_held() -> list[set[str]]:
        return [await held(resolver) for resolver in resolvers]

    return await eventually(
        all_held,
        lambda parts: all(parts) and sum(map(len, parts)) == 4,
        within=90,
        what="each has some partitions",
    )


def rounds(resolver: Service) -> int:
    """How often partitions were assigned to it."""
    return sum(line["event"] == "partitions assigned" for line in resolver.log_lines)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
async def test_a_roll(system: System, static: bool) -> None:  # noqa: FBT001 - a parameter
    resolvers = []
    for number in range(3):
        own = {"resolver_instance": f"resolver-{number}"} if static else {}
        resolvers.append(await system.resolver(resolver_session_timeout=SESSION_SECONDS, **own))
    before = await shared_out(resolvers)
    async with load(system) as running:
        await eventually(lambda: system.database.count("events"), lambda count: count > RATE)
        running.worst, running.stalled = 0, 0
        start = time.monotonic()
        moved = 0
        for restarted in resolvers:
            others = [other for other in resolvers if other is not restarted]
            seen = [rounds(other) for other in others]
            assert await restarted.stop() == 0
            restarted.start()
            await restarted.ready()
            await shared_out(resolvers)
            moved += sum(rounds(other) for other in others) - sum(seen)
        seconds = time.monotonic() - start
        after = await shared_out(resolvers)
    await eventually(lambda: system.database.count("events"), equals(running.sent), within=90)
    with_what = "static" if static else "dynamic"
    print(  # noqa: T201 - what the test is run for
        f"\n{with_what} membership: 3 resolvers restarted in {seconds:.0f} s at {RATE} events/s: "
        f"{moved} reassignments of others, most events waiting {running.worst}, "
        f"longest time in which nothing was resolved {running.stalled:.1f} s"
    )
    if static:
        assert after == before
        assert moved == 0
    else:
        assert moved > 0
