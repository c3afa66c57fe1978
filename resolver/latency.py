"""How long records waited to be resolved: only where the wait tells of this pipeline. Pure.

The wait of a record is from the broker writing it to the commit of its batch, so the times in an
event do not matter: a backfill may bring very old ones. Two waits tell of no delay:

- records that the log held before the group had anything to do with them. Those are the records
  of a topic that is read for the first time, or again (`merganser replay`). Nothing of the
  partition counts until it has caught up: the first record that waited less than `CAUGHT_UP`.
- records that were there already when the position moved last, before this member took over the
  partition. After a restart amid such a stretch nobody knows any more why they waited.

All other waits count: behind slow batches, behind a backlog, and while no resolver ran.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition

CAUGHT_UP = 10.0
"""Seconds: what is read within this time of being written is no backlog. The objective."""


class Progress(NamedTuple):
    """Where the group stands in a partition."""

    position: int
    moved_at: float
    """When the position moved last, in seconds since 1970."""
    first: bool
    """Whether the group has never read the partition before."""


class Written(Protocol):
    """A record, as far as it matters here."""

    topic: str
    partition: int
    timestamp: int
    """When the broker wrote it, in milliseconds since 1970."""


class Latency:
    """Which waits count, by partition. All times are seconds since 1970."""

    def __init__(self) -> None:
        self._since: dict[TopicPartition, float] = {}
        self._catching_up: set[TopicPartition] = set()

    def sought(self, partition: TopicPartition, progress: Progress, *, back: bool) -> None:
        """Reading goes on from a stored position.

        Args:
            partition: which.
            progress: as it is stored.
            back: whether the position was moved back.
        """
        self._since[partition] = progress.moved_at
        if progress.first or back:
            self._catching_up.add(partition)

    def waited(self, records: Iterable[Written], now: float) -> float | None:
        """The longest wait that counts of records that were just resolved; None if none does.

        Args:
            records: of a batch, by partition and offset.
            now: when the batch was committed. The broker's clock may be ahead: no wait is negative.
        """
        longest: float | None = None
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            written = record.timestamp / 1000
            if partition in self._catching_up:
                if now - written > CAUGHT_UP:
                    continue
                self._catching_up.remove(partition)
            if written >= self._since.get(partition, now):
                longest = max(longest or 0.0, now - written)
        return longest
