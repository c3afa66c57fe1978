"""Decodes Kafka records into a batch: events, dead letters, and the offsets after them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka import TopicPartition

from merganser.runtime import isolation
from schemas import event as wire
from schemas.dead_letter import DeadLetter, Header, Reason, RecordAddress
from schemas.event import Event
from schemas.ids import somebody

RECORDS_PER_SLICE = 50
"""About a quarter of a millisecond of parsing and decoding."""


class Record(Protocol):
    """The fields of aiokafka's `ConsumerRecord` that the resolver reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """When the broker wrote the record, in milliseconds since 1970."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


@dataclass(slots=True)
class Batch:
    """The records of one transaction."""

    records: list[tuple[Record, Event]] = field(default_factory=list)
    """Records with a valid event, by partition and offset."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    """The other records."""
    first_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    """The offset of each partition's first record, valid or not."""
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    """The offset after each partition's last record, valid or not."""

    @property
    def size(self) -> int:
        """Number of records, valid or not."""
        return len(self.records) + len(self.dead_letters)

    def extend(self, following: "Batch") -> None:
        """Add a batch of the records that follow in the same partitions, or of others."""
        self.records += following.records
        self.dead_letters += following.dead_letters
        self.first_offsets = following.first_offsets | self.first_offsets
        self.next_offsets |= following.next_offsets


def decode_records(
    fetched: Mapping[TopicPartition, Sequence[Record]], nobody_ids: frozenset[str]
) -> Batch:
    """Return the batch of fetched records. An invalid record never delays the others.

    Args:
        fetched: records by partition, each partition in the order of offsets.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
    """
    batch = Batch()
    for partition, records in fetched.items():
        for record in records:
            try:
                batch.records.append((record, _decode_event(record, nobody_ids)))
            except _InvalidRecord as invalid:
                batch.dead_letters.append(make_dead_letter(record, invalid.reason, str(invalid)))
            except Exception as error:  # noqa: BLE001 - a bug of ours must not cost other records
                batch.dead_letters.append(
                    make_dead_letter(record, Reason.FAILED, isolation.reason(error))
                )
        batch.first_offsets[partition] = records[0].offset
        batch.next_offsets[partition] = records[-1].offset + 1
    return batch


def make_dead_letter(record: Record, reason: Reason, error: str) -> DeadLetter:
    """Return the dead letter of a record.

    Args:
        record: cannot be processed.
        reason: the kind of failure.
        error: details, without content of the record.
    """
    address = RecordAddress(record.topic, record.partition, record.offset)
    return DeadLetter.of_record(reason, error, address, record.key, record.value, record.headers)


def split_batch(batch: Batch) -> tuple[Batch, Batch]:
    """Return two batches, each with half of the valid records, to find one that Postgres rejects.

    Writing one after the other has the same result as writing the whole batch.
    """
    middle = len(batch.records) // 2
    first = Batch(batch.records[:middle], batch.dead_letters)
    for record, _ in first.records:
        first.next_offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
    return first, Batch(batch.records[middle:], next_offsets=batch.next_offsets)


class _InvalidRecord(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _decode_event(record: Record, nobody_ids: frozenset[str]) -> Event:
    if record.value is None:
        raise _InvalidRecord(Reason.TOMBSTONE, "the record has no value")
    if wire.VERSION_HEADER not in record.headers:
        name, version = wire.VERSION_HEADER
        raise _InvalidRecord(
            Reason.VERSION, f"the record has no header {name} with the value {version.decode()}"
        )
    try:
        event = wire.decode(record.value)
    except wire.InvalidEvent as error:
        raise _InvalidRecord(Reason.UNREADABLE, str(error)) from None
    event["userId"] = somebody(event["userId"], nobody_ids)
    event["anonymousId"] = somebody(event["anonymousId"], nobody_ids)
    if event["userId"] is None and event["anonymousId"] is None:
        raise _InvalidRecord(Reason.NOBODY, "neither userId nor anonymousId names somebody")
    return event
