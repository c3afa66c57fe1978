"""When a source may be asked, as a pure state machine.

closed     it answers, or has failed fewer than `TRIES` times in a row: ask for whole batches, or
           after a failure for half of one.
open       it fails: ask nothing until `retry_at`, which each failure puts off twice as far.
half-open  that time has come: ask for a few profiles, once; the answer closes it or opens it.

Each failure in a row halves the next question: where one profile is why the source does not answer,
it soon is asked without that one.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

TRIES = 3
"""Failures in a row that open it."""
TRIAL = 10
"""Profiles at most that it is asked for when it may have recovered."""
FIRST = timedelta(seconds=1)
LONGEST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one source."""

    failures: int = 0
    """In a row."""
    retry_at: datetime | None = None
    """Until when it is open; None while it is closed."""

    def at_most(self, wanted: int, now: datetime) -> int:
        """How many profiles it may be asked for now, of as many as there are to ask for."""
        fewer = max(wanted >> max(self.failures, 0), 1)
        if self.retry_at is None:
            return fewer
        return min(TRIAL, fewer) if now >= self.retry_at else 0

    def tried(self, now: datetime, patience: timedelta) -> "Breaker":
        """Half-open and being asked: nobody else asks until that is decided, or was given up."""
        return replace(self, retry_at=now + patience)

    def failed(self, now: datetime, chance: float) -> "Breaker":
        """After a failure.

        Args:
            now: when it failed.
            chance: from 0 to 1, so that many processes and sources do not try at one moment.
        """
        failures = self.failures + 1
        if failures < TRIES:
            return Breaker(failures)
        doubled = FIRST * 2 ** min(failures - TRIES, 16)
        return Breaker(failures, now + min(doubled, LONGEST) * (0.5 + chance / 2))

    def succeeded(self) -> "Breaker":
        """After an answer."""
        return Breaker()
