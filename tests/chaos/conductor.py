"""Draws faults by the seed and inflicts them, with calms between in which all must go on."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.faults import Entry
from tests.chaos.ledger import Ledger
from tests.chaos.stage import Stage
from tests.chaos.view import View
from tests.chaos.watch import Watch
from tests.support.waiting import eventually

RECOVERY_SECONDS = 90.0
"""After a fault, for events to be acknowledged and stored again: generous, machines are slow."""

TOGETHER = 0.25
"""How often two faults come at once."""


@dataclass
class Conductor:
    """What was broken, and how the system took it."""

    stage: Stage
    watch: Watch
    ledger: Ledger
    view: View
    random: Random
    survived: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_recovery: tuple[float, str] = (0.0, "none")
    """In seconds, and after what."""

    async def run(self, seconds: float, faults: Sequence[Entry]) -> None:
        """Break things for so long with these faults; the last is fixed when this returns."""
        bag = _draw(self.random, faults)
        end = time.monotonic() + seconds
        await asyncio.sleep(min(2.0, seconds))
        while time.monotonic() < end:
            chosen = [next(bag)]
            if self.random.random() < TOGETHER:
                other = next(bag)
                if not other.needs & chosen[0].needs:
                    chosen.append(other)
            await asyncio.gather(*(self._inflict(entry) for entry in chosen))
            await self._calm(" and ".join(entry.name for entry in chosen))

    async def _inflict(self, entry: Entry) -> None:
        try:
            async with entry.inflict(self.stage) as harm:
                self.view.under_way(entry.name, harm.what)
                await asyncio.sleep(harm.seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict has to say it
            self._fail(f"{entry.name}: {type(error).__name__}: {error}")
        else:
            self.survived[entry.name] += 1
        finally:
            self.view.over(entry.name)

    async def _calm(self, after: str) -> None:
        """Wait until clients are served and events stored again, then leave it in peace a while."""
        start, before = time.monotonic(), self._progress()
        try:
            await eventually(
                lambda: all(now > then for now, then in zip(self._progress(), before, strict=True)),
                within=RECOVERY_SECONDS,
                what="requests are answered, records read and events resolved again",
            )
        except AssertionError as stuck:
            self._fail(f"no recovery after {after}: {stuck}")
        self.slowest_recovery = max(self.slowest_recovery, (time.monotonic() - start, after))
        await asyncio.sleep(self.random.uniform(0.5, 3))

    def _fail(self, why: str) -> None:
        self.failures.append(why)
        self.view.failed(why)

    def _progress(self) -> tuple[int, int, int]:
        return self.ledger.answers["200"], self.watch.read, self.watch.resolved


def _draw(random: Random, faults: Sequence[Entry]) -> Iterator[Entry]:
    """Faults by weight and without end; each comes before any has come more than its share."""
    while True:
        bag = [entry for entry in faults for _ in range(entry.weight)]
        random.shuffle(bag)
        yield from bag
