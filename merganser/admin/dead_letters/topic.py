"""Read the dead-letter topic."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from merganser.admin.dead_letters.letter_ids import read_ids
from merganser.identity.person_ids import PersonIds
from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas.dead_letter import DeadLetter, InvalidDeadLetter, Reason

FETCH_TIMEOUT_SECONDS = 30
"""Without a record for this time Kafka counts as unavailable."""

FETCH_SIZE = 500
"""Records fetched at a time."""


class LetterAddress(NamedTuple):
    """Where a letter is in the dead-letter topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadTopicRecord:
    """A record of the dead-letter topic: a letter, or something else that another system wrote."""

    address: LetterAddress
    written_at: datetime
    letter: DeadLetter | InvalidDeadLetter


@dataclass(frozen=True, slots=True)
class UnreadRecords:
    """Older records that a selection leaves out because of `LetterSelection.newest`."""

    count: int
    before: frozenset[LetterAddress]
    """For the selection that reads them."""


NOTHING_UNREAD = UnreadRecords(0, frozenset())


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """Which letters to read: those that match every condition. An empty set matches everything."""

    reasons: frozenset[Reason] = frozenset()
    since: datetime | None = None
    """Written then or later."""
    until: datetime | None = None
    """Written before."""
    addresses: frozenset[LetterAddress] = frozenset()
    person: PersonIds | None = None
    """Letters that name an id of this person; None: all."""
    before: frozenset[LetterAddress] = frozenset()
    """Records of a partition before its address; all of other partitions."""
    newest: int | None = None
    """At most so many records are read, the newest of each partition; None: all."""

    def matches(self, record: DeadTopicRecord, nobody_ids: frozenset[str]) -> bool:
        """Return whether a record is selected. A foreign record has no reason and no ids."""
        reason = getattr(record.letter, "reason", None)
        return (
            (not self.reasons or reason in self.reasons)
            and (self.since is None or record.written_at >= self.since)
            and (self.until is None or record.written_at < self.until)
            and (not self.addresses or record.address in self.addresses)
            and (self.person is None or _names(record.letter, self.person, nobody_ids))
        )


async def read_topic(
    settings: Settings,
    selection: LetterSelection,
    on_unread: Callable[[UnreadRecords], None] = lambda _: None,
) -> AsyncIterator[list[DeadTopicRecord]]:
    """Yield the selected records that the topic holds now, by partition and offset, in batches.

    Args:
        settings: how to reach Kafka.
        selection: which records.
        on_unread: called once with the records that are not read because of `newest`.

    Raises:
        KafkaError: the brokers cannot be reached, or have no such topic.
    """
    async with kafka.reader(settings, "dead", settings.dead_topic) as consumer:
        bounds = await _find_bounds(consumer, selection)
        if selection.newest is not None:
            bounds, unread = _keep_newest(bounds, selection.newest)
            on_unread(unread)
        for partition, (start, end) in bounds.items():
            consumer.seek(partition, start)
            seconds_without_records = 0
            while await consumer.position(partition) < end:
                fetched = await consumer.getmany(partition, timeout_ms=1000, max_records=FETCH_SIZE)
                raw = [record for record in fetched.get(partition, []) if record.offset < end]
                seconds_without_records = 0 if raw else seconds_without_records + 1
                if seconds_without_records > FETCH_TIMEOUT_SECONDS:
                    raise KafkaTimeoutError(
                        f"no record of {partition.topic}/{partition.partition} within "
                        f"{FETCH_TIMEOUT_SECONDS} seconds"
                    )
                records = [
                    record
                    for record in map(_parse, raw)
                    if selection.matches(record, settings.nobody_ids)
                ]
                if records:
                    yield records


async def _find_bounds(
    consumer: AIOKafkaConsumer, selection: LetterSelection
) -> Mapping[TopicPartition, tuple[int, int]]:
    """Return the range of offsets of each partition that has the selected letters."""
    partitions = sorted(consumer.assignment())
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if selection.since:
        timestamp = int(selection.since.timestamp() * 1000)
        first = await consumer.offsets_for_times(dict.fromkeys(partitions, timestamp))
        starts = {p: first[p].offset if first[p] else ends[p] for p in partitions}
    for address in selection.before:
        for p in partitions:
            if p.partition == address.partition:
                ends[p] = max(starts[p], min(ends[p], address.offset))
    if selection.addresses:
        for p in partitions:
            offsets = [a.offset for a in selection.addresses if a.partition == p.partition]
            starts[p] = max(starts[p], min(offsets, default=ends[p]))
            ends[p] = min(ends[p], max(offsets, default=-1) + 1)
    return {p: (starts[p], ends[p]) for p in partitions}


def _keep_newest(
    bounds: Mapping[TopicPartition, tuple[int, int]], newest: int
) -> tuple[dict[TopicPartition, tuple[int, int]], UnreadRecords]:
    """Return bounds of at most `newest` records; small partitions leave their share to others."""
    kept: dict[TopicPartition, tuple[int, int]] = {}
    left, unread = newest, 0
    by_size = sorted(bounds.items(), key=lambda item: item[1][1] - item[1][0])
    for number, (partition, (start, end)) in enumerate(by_size):
        first = max(start, end - left // (len(bounds) - number))
        kept[partition] = (first, end)
        left -= end - first
        unread += first - start
    before = frozenset(LetterAddress(p.partition, first) for p, (first, _) in kept.items())
    return {p: kept[p] for p in bounds}, UnreadRecords(unread, before)


def _names(
    letter: DeadLetter | InvalidDeadLetter, person: PersonIds, nobody_ids: frozenset[str]
) -> bool:
    return isinstance(letter, DeadLetter) and read_ids(letter, nobody_ids).names(person)


def _parse(record: Any) -> DeadTopicRecord:
    try:
        letter: DeadLetter | InvalidDeadLetter = DeadLetter.decode(
            record.key, record.value, record.headers
        )
    except InvalidDeadLetter as invalid:
        letter = invalid
    written_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return DeadTopicRecord(LetterAddress(record.partition, record.offset), written_at, letter)
