"""Injects faults in an order that the seed decides."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.deployment import Deployment
from tests.chaos.display import Display
from tests.chaos.faults import Fault
from tests.support.waiting import eventually

RECOVERY_SECONDS = 90.0
"""After a fault, until events are acknowledged and stored again: long, as machines are slow."""

TWO_AT_ONCE = 0.25
"""Share of the times when two faults are injected at once."""


@dataclass
class Injector:
    """Injects faults, and remembers how the system survived them."""

    deployment: Deployment
    display: Display
    random: Random
    progress: Callable[[], Sequence[int]]
    """Returns counters; the system has recovered when all of them have grown."""
    survived: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_recovery: tuple[float, str] = (0.0, "none")
    """In seconds, and after what."""

    async def run(self, seconds: float, faults: Sequence[Fault]) -> None:
        """Inject faults for this long, and wait for recovery after each; all are fixed at the end.

        Args:
            seconds: how long.
            faults: which may be injected.
        """
        order = _shuffle(self.random, faults)
        end = time.monotonic() + seconds
        await asyncio.sleep(min(2.0, seconds))
        while time.monotonic() < end:
            chosen = [next(order)]
            if self.random.random() < TWO_AT_ONCE:
                other = next(order)
                if not other.resources & chosen[0].resources:
                    chosen.append(other)
            await asyncio.gather(*(self.inject(fault) for fault in chosen))
            await self._wait_for_recovery(" and ".join(fault.name for fault in chosen))

    async def inject(self, fault: Fault) -> None:
        """Inject one fault; it is fixed when this returns."""
        try:
            async with fault.inject(self.deployment) as injected:
                self.display.start_fault(fault.name, injected.description)
                await asyncio.sleep(injected.seconds)
        except Exception as error:  # noqa: BLE001 - the verdict must include any error
            self._fail(f"{fault.name}: {type(error).__name__}: {error}")
        else:
            self.survived[fault.name] += 1
        finally:
            self.display.end_fault(fault.name)

    async def _wait_for_recovery(self, after: str) -> None:
        """Wait until clients are served and events stored again, then a little longer."""
        start, before = time.monotonic(), self.progress()
        try:
            await eventually(
                lambda: all(now > then for now, then in zip(self.progress(), before, strict=True)),
                within=RECOVERY_SECONDS,
                what="requests are answered, records read and events resolved again",
            )
        except AssertionError as stuck:
            self._fail(f"no recovery after {after}: {stuck}")
        self.slowest_recovery = max(self.slowest_recovery, (time.monotonic() - start, after))
        await asyncio.sleep(self.random.uniform(0.5, 3))

    def _fail(self, reason: str) -> None:
        self.failures.append(reason)
        self.display.fail(reason)


def _shuffle(random: Random, faults: Sequence[Fault]) -> Iterator[Fault]:
    """Yield faults without end, each as often as its weight before any comes again."""
    while True:
        round_of_faults = [fault for fault in faults for _ in range(fault.weight)]
        random.shuffle(round_of_faults)
        yield from round_of_faults
