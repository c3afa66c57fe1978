"""The topic of dead letters, read from one end of a selection to the other."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas.dead_letter import Foreign, Letter, Reason

SILENT_SECONDS = 30
"""Kafka holds more and does not send it for so long: it is away."""

MOST = 500
"""Letters at a time."""


class Address(NamedTuple):
    """Where a letter stands in the topic of dead letters."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Found:
    """A letter, or what somebody else put into the topic."""

    address: Address
    at: datetime
    """When it was written."""
    letter: Letter | Foreign


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters; those that fit all that is given."""

    reasons: frozenset[Reason] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    addresses: frozenset[Address] = field(default_factory=frozenset)

    def takes(self, found: Found) -> bool:
        """Whether a letter is selected. What is no letter has no reason."""
        reason = getattr(found.letter, "reason", None)
        return (
            (not self.reasons or reason in self.reasons)
            and (self.since is None or found.at >= self.since)
            and (self.until is None or found.at < self.until)
            and (not self.addresses or found.address in self.addresses)
        )


async def read(settings: Settings, selection: Selection) -> AsyncIterator[list[Found]]:
    """The selected letters that the topic holds now, by partition and offset, some at a time.

    Raises:
        KafkaError: Kafka is away, or has no such topic.
    """
    async with kafka.reader(settings, "dead", settings.dead_topic) as consumer:
        for partition, (start, end) in (await _bounds(consumer, selection)).items():
            consumer.seek(partition, start)
            silent = 0.0
            while await consumer.position(partition) < end:
                fetched = await consumer.getmany(partition, timeout_ms=1000, max_records=MOST)
                records = [one for one in fetched.get(partition, []) if one.offset < end]
                silent = 0 if records else silent + 1
                if silent > SILENT_SECONDS:
                    raise KafkaTimeoutError(f"{partition.topic} does not come")
                if selected := [found for found in map(_found, records) if selection.takes(found)]:
                    yield selected


async def _bounds(
    consumer: AIOKafkaConsumer, selection: Selection
) -> Mapping[TopicPartition, tuple[int, int]]:
    """The offsets of each partition between which the selected letters are: from, and before."""
    partitions = sorted(consumer.assignment())
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if selection.since:
        moment = int(selection.since.timestamp() * 1000)
        later = await consumer.offsets_for_times(dict.fromkeys(partitions, moment))
        starts = {p: found.offset if (found := later[p]) else ends[p] for p in partitions}
    if selection.addresses:
        for p in partitions:
            offsets = [a.offset for a in selection.addresses if a.partition == p.partition]
            starts[p] = max(starts[p], min(offsets, default=ends[p]))
            ends[p] = min(ends[p], max(offsets, default=-1) + 1)
    return {p: (starts[p], ends[p]) for p in partitions}


def _found(record: Any) -> Found:
    try:
        letter: Letter | Foreign = Letter.decoded(record.key, record.value, record.headers)
    except Foreign as foreign:
        letter = foreign
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return Found(Address(record.partition, record.offset), at, letter)
