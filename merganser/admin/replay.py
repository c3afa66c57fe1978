"""Positions moved back, so that the resolvers read again what the topic still holds.

Harmless by itself: events that are stored are left out of a batch, whenever they come.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg import AsyncConnection

from merganser.admin.database import connected
from merganser.runtime import kafka
from merganser.runtime.settings import ResolverSettings
from resolver.offsets import Offsets

Start = int | datetime | Literal["start"]
"""An offset, the first record of a time or later, or all that the topic holds."""


class Refused(ValueError):
    """What was asked for is not there to be read."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A partition: what its log holds, where the group stands, and where it is asked to go."""

    partition: TopicPartition
    start: int
    """The offset of the first record that the log still holds."""
    end: int
    """The offset after the last one."""
    position: int | None
    """None: the group has not read it yet."""
    target: int

    @property
    def records(self) -> int:
        """How many offsets are read again; 0 if the group has not come so far yet."""
        return max(0, (self.position or 0) - self.target)


async def look(
    settings: ResolverSettings, start: Start, partitions: Collection[int]
) -> list[Standing]:
    """What a replay would do, by partition; all of them if none is given.

    Raises:
        Refused: there is no such partition, or the offset lies outside of a log's bounds.
        KafkaError: Kafka is away, or has no such topic.
    """
    async with kafka.reader(settings, "replay", settings.topic) as consumer:
        known = {p.partition: p for p in sorted(consumer.assignment())}
        if strange := sorted(set(partitions) - set(known)):
            raise Refused(f"{settings.topic} has no partition {strange[0]}")
        chosen = [known[number] for number in sorted(partitions or known)]
        starts = await consumer.beginning_offsets(chosen)
        ends = await consumer.end_offsets(chosen)
        targets = await _targets(consumer, start, starts, ends)
    async with _opened(settings) as (connection, offsets):
        positions = await offsets.read(connection, chosen)
    return [Standing(p, starts[p], ends[p], positions.get(p), targets[p]) for p in chosen]


async def rewind(settings: ResolverSettings, standings: Collection[Standing]) -> None:
    """Move the offsets back; running resolvers notice.

    Raises:
        KafkaError: Kafka is away.
    """
    async with _opened(settings) as (connection, offsets):
        await offsets.rewind(connection, {one.partition: one.target for one in standings})


@asynccontextmanager
async def _opened(
    settings: ResolverSettings,
) -> AsyncIterator[tuple[AsyncConnection[Any], Offsets]]:
    cluster = await kafka.cluster_id(settings)
    async with await connected(settings, "replay") as connection:
        yield connection, Offsets(settings.consumer_group, cluster)


async def _targets(
    consumer: AIOKafkaConsumer,
    start: Start,
    starts: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if isinstance(start, datetime):
        moment = max(0, int(start.timestamp() * 1000))
        found = await consumer.offsets_for_times(dict.fromkeys(starts, moment))
        return {p: found[p].offset if found[p] else ends[p] for p in starts}
    if isinstance(start, str):
        return starts
    for p, first in starts.items():
        if not first <= start <= ends[p]:
            raise Refused(
                f"partition {p.partition} holds offsets {first} to {ends[p]}, not {start}: "
                "give another one, a --partition or a time"
            )
    return dict.fromkeys(starts, start)
