"""Write batches as the resolver does, and time them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from aiokafka import TopicPartition

from resolver.decode import Batch
from resolver.offsets import Offsets
from resolver.writer import Writer
from schemas import guid
from schemas.event import Event
from schemas.ids import NOBODY

START = datetime(2026, 1, 1, tzinfo=UTC)
PARTITION = TopicPartition("bench", 0)


class EventIds(NamedTuple):
    """An event of a benchmark: its time in seconds after START, and its ids."""

    second: float
    user_id: str | None
    anonymous_id: str | None


@dataclass
class Record:
    """The fields of a Kafka record that a decoded batch uses."""

    offset: int
    topic: str = PARTITION.topic
    partition: int = PARTITION.partition
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


class TimedWriter:
    """Writes batches on one connection and records the time of each."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], name: str) -> None:
        self._connection = connection
        self._writer = Writer(Offsets(name, "bench"), 7, move_limit=5000, nobody_ids=NOBODY)
        self._guids = guid.series(7, guid.EVENT, time.time_ns() // 1_000_000)
        self._offset = 0
        self.seconds: list[float] = []

    async def write(self, events: Iterable[EventIds]) -> None:
        """Write one batch in a transaction: offsets, identity and rows."""
        stored = await self._writer.offsets.read_or_create(self._connection, {PARTITION: 0})
        old_offsets = {PARTITION: stored[PARTITION].next_offset}
        records = [(Record(self._offset + n), self._event(ids)) for n, ids in enumerate(events)]
        self._offset += len(records)
        batch = Batch(records, next_offsets={PARTITION: self._offset})  # type: ignore[arg-type] # `Record` instead of aiokafka's class
        start = time.perf_counter()
        async with self._connection.transaction():
            await self._writer.write(self._connection, batch, old_offsets)
        self.seconds.append(time.perf_counter() - start)

    def _event(self, ids: EventIds) -> Event:
        moment = START + timedelta(seconds=ids.second)
        return {
            "guid": next(self._guids),
            "producerGuid": None,
            "ipAddress": "192.0.2.1",
            "createdAt": moment,
            "occurredAt": moment,
            "type": "pageview",
            "userId": ids.user_id,
            "anonymousId": ids.anonymous_id,
            "data": {"path": "/mugs", "utm_source": "news", "price": "12.50", "title": "Mugs"},
        }
