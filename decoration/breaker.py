"""The circuit breaker of a source, as a pure state machine.

closed     The source answers, or has failed fewer than `FAILURES_TO_OPEN` times in a row. Query
           whole batches, after a failure half of one.
open       The source fails. Send nothing until `retry_at`. Each failure doubles the delay.
half-open  `retry_at` has passed. Query a few profiles once: the answer closes or opens the breaker.

Each failure in a row halves the next batch. So if one profile makes the source fail, the source is
soon queried without it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FAILURES_TO_OPEN = 3
"""Failures in a row."""
HALF_OPEN_PROFILES = 10
"""Maximum number of profiles in a query while the breaker is half-open."""
FAILURES_OF_SOURCE = 16
"""After more failures in a row the source as a whole is the cause. One profile that is the cause is
queried alone before that: each failure halves a query of at most 10,000 profiles."""
MIN_DELAY = timedelta(seconds=1)
MAX_DELAY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one source's breaker."""

    failures: int = 0
    """Failures in a row."""
    retry_at: datetime | None = None
    """The end of the open state; None while the breaker is closed."""

    @property
    def blames_source(self) -> bool:
        """Whether the source as a whole is the cause, although the last query had one profile."""
        return self.failures > FAILURES_OF_SOURCE

    def allowed_profiles(self, wanted: int, now: datetime) -> int:
        """Return how many of the wanted profiles may be queried now."""
        fewer = max(wanted >> max(self.failures, 0), 1)
        if self.retry_at is None:
            return fewer
        return min(HALF_OPEN_PROFILES, fewer) if now >= self.retry_at else 0

    def after_half_open_query(self, now: datetime, query_time: timedelta) -> "Breaker":
        """Return the state while a half-open query runs: no other process sends one meanwhile."""
        return replace(self, retry_at=now + query_time)

    def after_failure(self, now: datetime, jitter: float) -> "Breaker":
        """Return the state after a failure.

        Args:
            now: when the query failed.
            jitter: from 0 to 1, so that processes and sources do not all retry at the same time.
        """
        failures = self.failures + 1
        if failures < FAILURES_TO_OPEN:
            return Breaker(failures)
        delay = MIN_DELAY * 2 ** min(failures - FAILURES_TO_OPEN, 16)
        return Breaker(failures, now + min(delay, MAX_DELAY) * (0.5 + jitter / 2))
