"""From records to what a transaction needs: events, dead letters, and the positions after them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka import TopicPartition

from merganser.runtime import isolation
from schemas import event as wire
from schemas.dead_letter import Header, Letter, Place, Reason
from schemas.event import Event
from schemas.ids import somebody


class Record(Protocol):
    """The parts of aiokafka's ConsumerRecord that are read here."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """When the broker wrote it, in milliseconds since 1970."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


@dataclass(slots=True)
class Batch:
    """Records of one transaction."""

    records: list[tuple[Record, Event]] = field(default_factory=list)
    """The ones that are events, by partition and offset."""
    dead: list[Letter] = field(default_factory=list)
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    """The offset of the first record of each partition."""
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    """The offset after the last record, good or bad, of each partition."""

    @property
    def size(self) -> int:
        """Records, good and bad."""
        return len(self.records) + len(self.dead)


def read(fetched: Mapping[TopicPartition, Sequence[Record]], nobody: frozenset[str]) -> Batch:
    """Decode what a fetch returned; a bad record never delays the others.

    Args:
        fetched: records by partition, each in the order of offsets.
        nobody: ids that mean nobody, folded.
    """
    batch = Batch()
    for partition, records in fetched.items():
        for record in records:
            try:
                batch.records.append((record, _event(record, nobody)))
            except _Bad as bad:
                batch.dead.append(letter(record, bad.reason, str(bad)))
            except Exception as error:  # noqa: BLE001 - its neighbors must not pay for our mistake
                batch.dead.append(letter(record, Reason.FAILED, isolation.reason(error)))
        batch.starts[partition] = records[0].offset
        batch.positions[partition] = records[-1].offset + 1
    return batch


def letter(record: Record, reason: Reason, error: str) -> Letter:
    """The dead letter of a record."""
    place = Place(record.topic, record.partition, record.offset)
    return Letter.of(reason, error, place, record.key, record.value, record.headers)


class _Bad(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _event(record: Record, nobody: frozenset[str]) -> Event:
    if record.value is None:
        raise _Bad(Reason.TOMBSTONE, "a record without a value")
    if wire.VERSION_HEADER not in record.headers:
        raise _Bad(Reason.VERSION, f"no header {wire.VERSION_HEADER[0]} of this version")
    try:
        event = wire.decode(record.value)
    except wire.Unreadable as error:
        raise _Bad(Reason.UNREADABLE, str(error)) from None
    event["userId"] = somebody(event["userId"], nobody)
    event["anonymousId"] = somebody(event["anonymousId"], nobody)
    if event["userId"] is None and event["anonymousId"] is None:
        raise _Bad(Reason.NOBODY, "neither userId nor anonymousId names somebody")
    return event


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The same records as two batches that, written one after the other, end where the whole would.

    Used to find the record that Postgres refuses.
    """
    middle = len(batch.records) // 2
    first = Batch(batch.records[:middle], batch.dead)
    for record, _ in first.records:
        first.positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
    return first, Batch(batch.records[middle:], positions=batch.positions)
