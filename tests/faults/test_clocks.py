"""Clocks that jump: durations use a monotonic clock, and guids stay unique."""

import platform
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

DAY = 24 * 3600


@pytest.fixture
def set_clock(system: System, tmp_path: Path) -> Callable[[int], None]:
    """Return a function that sets the wall clock of this system's processes while they run.

    Its argument is the difference from the true time in seconds. The processes load libfaketime;
    their monotonic clock does not change, as in a real jump.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("libfaketime comes built for Linux on x86-64 only")
    # Not imported: only its library is needed.
    found = find_spec("libfaketime")
    assert found, "libfaketime is missing: make setup"
    library = Path(found.origin or "").parent / "vendor/libfaketime/src/libfaketime.so.1"
    assert library.exists()
    clock = tmp_path / "clock"

    def jump(seconds: int) -> None:
        clock.write_text(f"{seconds:+d}")

    jump(0)
    system.env |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return jump


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_a_clock_jumps(system: System, set_clock: Callable[[int], None], kind: str) -> None:
    """By days, in one process: for the others its events are in the future or in the past."""
    real = {k: v for k, v in system.env.items() if "FAKE" not in k and k != "LD_PRELOAD"}
    faked = dict(system.env)

    def with_clock_of(name: str) -> System:
        system.env.clear()
        system.env |= faked if name == kind else real
        return system

    gateway = await with_clock_of("ingest").ingest()
    resolver = await with_clock_of("resolver").resolver()
    scanner = await with_clock_of("scanner").scanner()
    (jumping,) = (service for service in system.services if service.kind == kind)
    async with Load([gateway.url], gateway.key, rows_url=system.database.url) as load:
        for seconds in (DAY, -30 * DAY, 400 * DAY, 0):
            await load.wait_for(more=100)
            set_clock(seconds)
            await eventually(lambda: _days_off(jumping), equals(seconds / DAY))
            await load.wait_for(more=300)
            for service in (gateway, resolver, scanner):
                assert await service.why_not_ready() == {}
    assert load.ledger.failures == set()
    await verify(system, load.ledger)
    # For an event that was accepted tomorrow the duration is 0, not negative.
    assert await resolver.metric("merganser_resolver_accepted_to_resolved_seconds_sum") >= 0


async def _days_off(service: Service) -> int:
    """Return how many days the clock of a process is fast, by the date of its answers."""
    date = parsedate_to_datetime((await service.ops("/healthz")).headers["date"])
    return round((date - datetime.now(UTC)) / timedelta(days=1))


async def test_sent_again_more_than_a_year_later(
    system: System, set_clock: Callable[[int], None]
) -> None:
    """More than a year by the clocks of all processes."""
    gateway = await system.ingest()
    await system.resolver()
    async with Load([gateway.url], gateway.key) as load:
        await load.wait_for(more=100)
    await verify(system, load.ledger)
    set_clock(400 * DAY)
    async with Load([gateway.url], gateway.key, ledger=load.ledger) as again:
        await again.wait_for(more=100)
    await verify(system, again.ledger)
