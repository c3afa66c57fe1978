"""Detects partitions whose records wait while this resolver makes no progress. Pure.

A consumer can hang and look healthy: it polls nothing, and sends heartbeats. So each partition has
a clock. The clock starts when the partition is assigned, and restarts with each batch written and
each time Kafka reports no lag. It keeps running while the fetcher hangs, while no offset was read,
while a batch is not written, and while the lag is unknown. Partitions have separate clocks, as one
can stall while the others proceed.

A cause that has its own check, such as Postgres being away, is not a stall: the caller restarts
the clocks meanwhile.
"""

from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition


class StallDetector:
    """The time since the last progress of each partition.

    `now` is always in seconds, of one monotonic clock.
    """

    def __init__(self) -> None:
        self._progress_at: dict[TopicPartition, float] = {}
        self._lag: dict[TopicPartition, int] = {}
        self._rebalancing_since: float | None = None

    def start_rebalance(self, now: float) -> None:
        """Note that the group revokes all partitions."""
        self._progress_at.clear()
        self._lag.clear()
        self._rebalancing_since = now

    def assign(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """Note the partitions that this resolver has after the rebalance."""
        self._rebalancing_since = None
        self._progress_at = dict.fromkeys(partitions, now)

    def note_progress(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """Note that a batch with records of these partitions was committed."""
        self._progress_at.update((p, now) for p in partitions if p in self._progress_at)

    def note_lag(self, lags: Mapping[TopicPartition, int], now: float) -> None:
        """Note how many records wait in each partition, according to Kafka."""
        for partition, lag in lags.items():
            if partition in self._progress_at:
                self._lag[partition] = lag
                if lag == 0:
                    self._progress_at[partition] = now

    def restart_clocks(self, now: float) -> None:
        """Ignore the time so far: another check explains it."""
        self._progress_at = dict.fromkeys(self._progress_at, now)
        if self._rebalancing_since is not None:
            self._rebalancing_since = now

    def seconds_without_progress(self, now: float) -> float:
        """Return the time since the last progress, of the partition where it is longest."""
        if self._rebalancing_since is not None:
            return now - self._rebalancing_since
        return now - min(self._progress_at.values(), default=now)

    def describe_stall(self, now: float, limit: float) -> str | None:
        """Return why this resolver is not ready, or None.

        Args:
            now: the current time.
            limit: seconds without progress that are still acceptable.
        """
        seconds = self.seconds_without_progress(now)
        if seconds <= limit:
            return None
        if self._rebalancing_since is not None:
            return f"no partitions since a rebalance started {seconds:.0f} s ago"
        partition = min(self._progress_at, key=self._progress_at.__getitem__)
        lag = self._lag.get(partition)
        waiting = f"{lag} records wait" if lag else "the lag is unknown"
        return (
            f"partition {partition.partition}: {waiting}, and none was resolved for {seconds:.0f} s"
        )
