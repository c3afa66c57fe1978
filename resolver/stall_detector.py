"""Does this member get anywhere? A consumer that polls nothing while records wait looks alive.

Pure: the caller passes in what happened and when. A partition's clock starts when it is assigned,
and starts anew with each batch written and each time Kafka says that nothing waits. So it runs
while the fetcher is stuck, while the position was never sought, while a batch is not written, and
while it is not known whether records wait; each partition by itself, for the others may go on. What
has a check of its own, as Postgres has, is no silence: the caller then excuses it.
"""

from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition


class Silence:
    """How long each partition has gone without progress. All times are seconds of one clock."""

    def __init__(self) -> None:
        self._since: dict[TopicPartition, float] = {}
        self._lag: dict[TopicPartition, int] = {}
        self._rebalancing_since: float | None = None

    def revoked(self, now: float) -> None:
        """A rebalance begins: every partition leaves."""
        self._since.clear()
        self._lag.clear()
        self._rebalancing_since = now

    def assigned(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """The rebalance has ended, and these are ours; none of them has been sought yet."""
        self._rebalancing_since = None
        self._since = dict.fromkeys(partitions, now)

    def wrote(self, partitions: Iterable[TopicPartition], now: float) -> None:
        """A batch with records of these was committed."""
        self._since.update((p, now) for p in partitions if p in self._since)

    def lagging(self, lags: Mapping[TopicPartition, int], now: float) -> None:
        """Kafka has said how many records wait."""
        for partition, lag in lags.items():
            if partition in self._since:
                self._lag[partition] = lag
                if lag == 0:
                    self._since[partition] = now

    def excused(self, now: float) -> None:
        """Something else explains that there is no progress: every clock starts anew."""
        self._since = dict.fromkeys(self._since, now)
        if self._rebalancing_since is not None:
            self._rebalancing_since = now

    def seconds(self, now: float) -> float:
        """Since the last progress of the partition that has gone without it for the longest."""
        if self._rebalancing_since is not None:
            return now - self._rebalancing_since
        return now - min(self._since.values(), default=now)

    def complaint(self, now: float, longest: float) -> str | None:
        """Why this member is not ready, if a partition has been silent for longer than this."""
        silent = self.seconds(now)
        if silent <= longest:
            return None
        if self._rebalancing_since is not None:
            return f"no partitions since a rebalance began {silent:.0f} s ago"
        partition = min(self._since, key=self._since.__getitem__)
        waiting = self._lag.get(partition)
        what = "it is not known how many records wait" if not waiting else f"{waiting} records wait"
        return f"partition {partition.partition}: {what}, and none was resolved for {silent:.0f} s"
