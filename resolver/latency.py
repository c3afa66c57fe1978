"""Decides which records count in the latency metric. Pure.

The latency of a record is the time from the broker writing it to the commit of its batch. The times
inside an event do not matter: a backfill may bring very old events. Two kinds of records are left
out, as their latency says nothing about this pipeline:

- Records of a topic that the group reads for the first time, or again (`merganser replay`). No
  record of the partition counts until the group has caught up: until it reads the first record
  that is younger than `CAUGHT_UP_SECONDS`.
- Records that were in the partition when the group last advanced its offset, before this resolver
  got the partition. After a restart it is not known why these records waited.

All others count: behind slow batches, behind a backlog, and while no resolver runs.
"""

import itertools
import math
import operator
from collections.abc import Iterable
from typing import Protocol

from aiokafka import TopicPartition

CAUGHT_UP_SECONDS = 10.0
"""A record that is younger when its batch commits is not part of a backlog."""


class TimedRecord(Protocol):
    """The fields of a record that matter here."""

    topic: str
    partition: int
    timestamp: int
    """When the broker wrote the record, in milliseconds since 1970."""


class LatencyTracker:
    """What is known of each partition. All times are in seconds since 1970."""

    def __init__(self) -> None:
        self._counts_since: dict[TopicPartition, float] = {}
        self._catching_up: set[TopicPartition] = set()

    def start_reading(
        self, partition: TopicPartition, offset_updated_at: float, *, catches_up: bool
    ) -> None:
        """Note that this resolver reads from the stored offset.

        Args:
            partition: which one.
            offset_updated_at: when the group last advanced its offset.
            catches_up: the group reads the partition for the first time, or again.
        """
        self._counts_since[partition] = offset_updated_at
        if catches_up:
            self._catching_up.add(partition)

    def measure(self, records: Iterable[TimedRecord], now: float) -> float | None:
        """Return the longest latency of those records that count, or None if none counts.

        Args:
            records: of a batch, by partition and offset.
            now: when the batch was committed. A broker's clock may be ahead: the result is never
                negative.
        """
        oldest = math.inf
        for key, group in itertools.groupby(records, operator.attrgetter("topic", "partition")):
            partition = TopicPartition(*key)
            counts_since = self._counts_since.get(partition, now)
            for record in group:
                written_at = record.timestamp / 1000
                if partition in self._catching_up:
                    if now - written_at > CAUGHT_UP_SECONDS:
                        continue
                    self._catching_up.remove(partition)
                if counts_since <= written_at < oldest:
                    oldest = written_at
        return None if oldest == math.inf else max(now - oldest, 0.0)
