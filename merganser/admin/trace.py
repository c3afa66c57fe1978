"""Trace an event through Kafka by its guid: its record, and the dead letter that it became."""

import asyncio
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from merganser.admin.database import open_connection
from merganser.admin.dead_letters.topic import DeadTopicRecord, LetterSelection, read_topic
from merganser.runtime import kafka
from merganser.runtime.settings import ResolverSettings, Settings
from resolver.offsets import Offsets
from schemas.dead_letter import DeadLetter, RecordAddress

MARGIN = timedelta(seconds=5)
"""Between the time that ingest gives an event and that of its record, by the broker's clock."""

MAX_RECORDS = 20_000
"""Records that a search reads, of all partitions together."""

MAX_SECONDS = 5.0
"""How long a search takes."""

LETTER_MARGIN = timedelta(hours=1)
"""After a record, how long its dead letter may take."""


@dataclass(frozen=True, slots=True)
class TracedRecord:
    """The record of an event."""

    address: RecordAddress
    written_at: datetime
    is_processed: bool
    """Whether the resolvers have committed a later offset."""


async def find_record(
    settings: ResolverSettings, guid: str, accepted_at: datetime
) -> TracedRecord | None:
    """Return the record of an event; None if the topic does not have it around this time.

    Args:
        settings: Kafka, the topic and the group; the database's URL.
        guid: of the event.
        accepted_at: when ingest accepted it.

    Raises:
        KafkaError: the brokers cannot be reached, or have no such topic.
    """
    async with kafka.reader(settings, "trace", settings.topic) as consumer:
        found = await _search(consumer, guid, accepted_at - MARGIN, accepted_at + MARGIN)
    if found is None:
        return None
    partition = TopicPartition(settings.topic, found.partition)
    offsets = Offsets(settings.consumer_group, await kafka.cluster_id(settings))
    async with open_connection(settings, "trace") as connection:
        stored = await offsets.read(connection, [partition])
    return TracedRecord(
        RecordAddress(settings.topic, found.partition, found.offset),
        datetime.fromtimestamp(found.timestamp / 1000, UTC),
        is_processed=stored.get(partition, 0) > found.offset,
    )


async def find_letter(
    settings: Settings, guid: str, accepted_at: datetime
) -> DeadTopicRecord | None:
    """Return the newest dead letter of an event; None if the topic has none around this time.

    Raises:
        KafkaError: the brokers cannot be reached, or have no such topic.
    """
    newest: DeadTopicRecord | None = None
    count = 0
    selection = LetterSelection(since=accepted_at - MARGIN, until=accepted_at + LETTER_MARGIN)
    async with asyncio.timeout(MAX_SECONDS):
        async for records in read_topic(settings, selection):
            for record in records:
                if isinstance(record.letter, DeadLetter) and _is_of(record.letter.value, guid):
                    newest = record
            count += len(records)
            if count > MAX_RECORDS:
                break
    return newest


async def _search(
    consumer: AIOKafkaConsumer, guid: str, since: datetime, until: datetime
) -> Any | None:
    partitions = consumer.assignment()
    ends = await consumer.end_offsets(partitions)
    starts = await consumer.offsets_for_times(dict.fromkeys(partitions, _milliseconds(since)))
    unread = {p for p in partitions if starts[p] and starts[p].offset < ends[p]}
    for partition in unread:
        consumer.seek(partition, starts[partition].offset)
    last_time, count = _milliseconds(until), 0
    deadline = time.monotonic() + MAX_SECONDS
    while unread and count < MAX_RECORDS and time.monotonic() < deadline:
        fetched = await consumer.getmany(*unread, timeout_ms=500)
        for partition, records in fetched.items():
            if found := _find(records, guid):
                return found
            count += len(records)
            last = records[-1]
            if last.timestamp > last_time or last.offset + 1 >= ends[partition]:
                unread.discard(partition)
    return None


def _find(records: Collection[Any], guid: str) -> Any | None:
    return next((record for record in records if _is_of(record.value, guid)), None)


def _is_of(value: bytes | None, guid: str) -> bool:
    """Return whether a record's value is the event with this guid."""
    if value is None or guid.encode() not in value:
        return False
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("guid") == guid


def _milliseconds(moment: datetime) -> int:
    return max(0, int(moment.timestamp() * 1000))
