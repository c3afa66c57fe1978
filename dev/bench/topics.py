"""Topics of accepted events, filled by a bare producer."""

import asyncio
import time
import uuid
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from dev.bench import realistic_events
from dev.stack import Servers
from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas import event as wire
from schemas.event import VERSION_HEADER, Event


class Record(NamedTuple):
    """Bytes that ingest publishes."""

    key: bytes
    value: bytes


def topic(running: Servers) -> Settings:
    """Create an empty topic and return settings for it."""
    name = f"bench-{uuid.uuid4().hex}"
    settings = Settings(
        _env_file=None,
        kafka_bootstrap=running.kafka_bootstrap,
        topic=name,
        dead_topic=f"{name}-dead",
        refused_topic=f"{name}-refused",
    )
    asyncio.run(kafka.create_topics(settings))
    return settings


def backlog(running: Servers, events: Iterable[Event] | int) -> Settings:
    """Create a topic with these events, or this number, and return settings for it."""
    settings = topic(running)
    publish(settings, records(events))
    return settings


def records(events: Iterable[Event] | int) -> list[Record]:
    """Return these events, or this number, as the records that ingest publishes."""
    chosen = realistic_events.events(events) if isinstance(events, int) else events
    return [Record(wire.partition_key(event), wire.encode(event)) for event in chosen]


def publish(settings: Settings, records: list[Record]) -> float:
    """Send records with acks=all in the largest batches; return the seconds that it took."""
    return asyncio.run(_publish(settings, records))


async def _publish(settings: Settings, records: list[Record]) -> float:
    producer = kafka.producer(settings, "bench", timeout=30)
    async with producer:
        start = time.perf_counter()
        sent: list[asyncio.Future[object]] = []
        open_batches: dict[int, BatchBuilder] = {}
        for record in records:
            key, value = record.key, record.value
            partition = zlib.crc32(key) % settings.topic_partitions
            batch = open_batches.get(partition)
            if batch is None or not _append(batch, key, value):
                if batch is not None:
                    sent.append(await _send(producer, settings, batch, partition))
                open_batches[partition] = batch = producer.create_batch()
                _append(batch, key, value)
        for partition, batch in open_batches.items():
            sent.append(await _send(producer, settings, batch, partition))
        await asyncio.gather(*sent)
        return time.perf_counter() - start


def count(settings: Settings) -> int:
    """Return the number of records in a topic of `topic`."""
    return asyncio.run(_count(settings))


async def _count(settings: Settings) -> int:
    async with kafka.reader(settings, "bench", settings.topic) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
    return sum(ends.values())


def _append(batch: BatchBuilder, key: bytes, value: bytes) -> bool:
    fitted = batch.append(timestamp=None, key=key, value=value, headers=[VERSION_HEADER])
    return fitted is not None


async def _send(
    producer: AIOKafkaProducer, settings: Settings, batch: BatchBuilder, partition: int
) -> "asyncio.Future[object]":
    future: asyncio.Future[object] = await producer.send_batch(
        batch, settings.topic, partition=partition
    )
    return future
