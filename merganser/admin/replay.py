"""Move the consumer group's offsets back, so that resolvers read the topic again.

Replaying is harmless: a resolver skips events that are stored.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.admin.times import parse_time
from merganser.runtime import kafka
from merganser.runtime.settings import ResolverSettings
from resolver.offsets import Offsets

ReplayStart = int | datetime | Literal["start"]
"""An offset; the first record at a time or later; or everything that the topic holds."""


class ReplayOutOfRange(AdminError):
    """The topic does not have the requested partition or offset."""


@dataclass(frozen=True, slots=True)
class PartitionReplay:
    """What a replay does to one partition."""

    partition: int
    log_start: int
    """Offset of the first record that Kafka still holds."""
    log_end: int
    """Offset after the last record."""
    offset: int | None
    """The group's offset; None if it has not read the partition yet."""
    target: int
    """The offset to move the group to."""

    @property
    def records(self) -> int:
        """Number of offsets that are read again; 0 if the group has not reached `target` yet."""
        return max(0, (self.offset or 0) - self.target)


def parse_start(text: str, now: datetime) -> ReplayStart:
    """Parse an offset, a time, an age such as `2h`, or `start`.

    Raises:
        ValueError: it is none of them.
    """
    if text == "start":
        return "start"
    return int(text) if text.isascii() and text.isdecimal() else parse_time(text, now)


async def plan_replay(
    settings: ResolverSettings, start: ReplayStart, partitions: Collection[int]
) -> list[PartitionReplay]:
    """Return what a replay does to each partition.

    Args:
        settings: Kafka, the topic and the group; the database's URL.
        start: where the resolvers start to read.
        partitions: numbers of partitions; all if it is empty.

    Raises:
        ReplayOutOfRange: there is no such partition, or a partition does not hold the offset.
        KafkaError: the brokers cannot be reached, or have no such topic.
    """
    async with kafka.reader(settings, "replay", settings.topic) as consumer:
        existing = {p.partition: p for p in sorted(consumer.assignment())}
        if missing := sorted(set(partitions) - set(existing)):
            raise ReplayOutOfRange(
                f"{settings.topic} has no partition {missing[0]}: its partitions are "
                f"{min(existing)} to {max(existing)}"
            )
        chosen = [existing[number] for number in sorted(partitions or existing)]
        starts = await consumer.beginning_offsets(chosen)
        ends = await consumer.end_offsets(chosen)
        targets = await _find_targets(consumer, start, starts, ends)
    async with _open_offsets(settings) as (connection, offsets):
        stored = await offsets.read(connection, chosen)
    return [
        PartitionReplay(p.partition, starts[p], ends[p], stored.get(p), targets[p]) for p in chosen
    ]


async def rewind_offsets(
    settings: ResolverSettings, actor: Actor, replays: Collection[PartitionReplay]
) -> None:
    """Move the group's offsets back to their targets; running resolvers notice within seconds.

    Args:
        settings: Kafka, the topic and the group; the database's URL.
        actor: who moves them.
        replays: as `plan_replay` returned them.

    Raises:
        KafkaError: the brokers cannot be reached.
    """
    async with _open_offsets(settings) as (connection, offsets):
        await offsets.rewind(
            connection,
            {TopicPartition(settings.topic, replay.partition): replay.target for replay in replays},
        )
        counts = {
            "partitions": len(replays),
            "records": sum(replay.records for replay in replays),
        }
        await record_action(
            connection, actor, "topic replayed", subject=settings.topic, counts=counts
        )


@asynccontextmanager
async def _open_offsets(
    settings: ResolverSettings,
) -> AsyncIterator[tuple[AsyncConnection[Any], Offsets]]:
    cluster = await kafka.cluster_id(settings)
    async with open_connection(settings, "replay") as connection:
        yield connection, Offsets(settings.consumer_group, cluster)


async def _find_targets(
    consumer: AIOKafkaConsumer,
    start: ReplayStart,
    starts: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if isinstance(start, datetime):
        timestamp = max(0, int(start.timestamp() * 1000))
        records = await consumer.offsets_for_times(dict.fromkeys(starts, timestamp))
        return {p: records[p].offset if records[p] else ends[p] for p in starts}
    if isinstance(start, str):
        return starts
    for p, first in starts.items():
        if not first <= start <= ends[p]:
            raise ReplayOutOfRange(
                f"partition {p.partition} holds offsets {first} to {ends[p]}, not {start}: "
                "give another offset, a --partition or a time"
            )
    return dict.fromkeys(starts, start)
