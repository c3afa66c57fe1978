"""The topics of one test."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from merganser.runtime import kafka
from merganser.runtime.kafka_connection import AdminClient
from merganser.runtime.settings import Settings
from schemas import event as wire
from schemas.event import Event
from tests.support.waiting import eventually

PARTITIONS = 4


class Record(NamedTuple):
    """A record of a topic; without a partition, the key selects one."""

    value: bytes | None
    key: bytes | None = None
    headers: Mapping[str, bytes] = {}
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class Topic:
    """One topic of one test."""

    bootstrap: str
    name: str

    async def publish(self, *records: Record) -> None:
        """Write records, in order."""
        largest = Settings(_env_file=None).topic_max_record
        async with AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, max_request_size=largest
        ) as producer:
            sent = [
                await producer.send(
                    self.name,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers.items()),
                )
                for record in records
            ]
            for acknowledged in sent:
                await acknowledged

    async def publish_events(self, events: Iterable[Event]) -> None:
        """Write events as ingest does."""
        await self.publish(*map(record_of, events))

    async def records(self, last: int | None = None) -> list[Record]:
        """Return the records that the topic holds now, or the last of each partition, in order."""
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            found: list[Record] = []
            for partition, end in ends.items():
                if last is not None:
                    consumer.seek(partition, max(end - last, 0))
                while await consumer.position(partition) < end:
                    fetched = await consumer.getmany(partition, timeout_ms=200)
                    found += [_read(record) for record in fetched.get(partition, [])]
            return sorted(found, key=lambda record: (record.partition, record.offset))

    async def size(self) -> int:
        """Return how many records were ever written."""
        return sum((await self.ends()).values())

    async def ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition."""
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            return {partition.partition: end for partition, end in ends.items()}

    async def grow(self, to: int) -> None:
        """Add partitions, so that the topic has this number."""
        async with _admin(self.bootstrap) as admin:
            await admin.create_partitions({self.name: NewPartitions(to)})

    async def refuse_larger(self, size: int) -> None:
        """Limit the bytes of a batch, as the topic of an operator may."""
        await self.configure("max.message.bytes", str(size))

    async def delete(self) -> None:
        """Delete the topic."""
        async with _admin(self.bootstrap) as admin:
            await admin.delete_topics([self.name])

    async def configure(self, name: str, value: str) -> None:
        """Set a property of the topic."""
        async with _admin(self.bootstrap) as admin:
            configs = {name: value}
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, self.name, configs=configs)]
            )

    async def configured(self, name: str) -> str | None:
        """Return a property of the topic; None while the broker does not know the topic yet."""
        async with _admin(self.bootstrap) as admin:
            resource = ConfigResource(ConfigResourceType.TOPIC, self.name, configs={name: None})
            (response,) = await admin.describe_configs([resource])
        ((_, _, _, _, found),) = response.resources
        return found[0][1] if found else None

    def _consumer(self) -> AIOKafkaConsumer:
        """Return a consumer of all partitions that commits nothing, as it has no group."""
        return AIOKafkaConsumer(
            self.name, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest"
        )


@dataclass(frozen=True)
class Topics:
    """The topics of one test, on one broker."""

    bootstrap: str
    suffix: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def events(self) -> Topic:
        """The topic of accepted events."""
        return Topic(self.bootstrap, f"test-{self.suffix}")

    @property
    def dead(self) -> Topic:
        """The topic of dead letters."""
        return Topic(self.bootstrap, f"test-{self.suffix}.dead")

    @property
    def refused(self) -> Topic:
        """The topic of refused events."""
        return Topic(self.bootstrap, f"test-{self.suffix}.refused")


@asynccontextmanager
async def created(
    bootstrap: str,
    partitions: int = PARTITIONS,
    *,
    keep: bool = False,
    retention: int = 7,
    dead_retention: int = 30,
) -> AsyncIterator[Topics]:
    """Create the topics, and delete them after an `async with` block.

    Args:
        bootstrap: the broker's `host:port`.
        partitions: of the topic of events.
        keep: do not delete the topics.
        retention: days to keep events, 0 without limit.
        dead_retention: days to keep dead letters, 0 without limit.
    """
    topics = Topics(bootstrap)
    settings = Settings(
        _env_file=None,
        kafka_bootstrap=bootstrap,
        topic=topics.events.name,
        dead_topic=topics.dead.name,
        refused_topic=topics.refused.name,
        topic_partitions=partitions,
        topic_retention=retention,
        dead_topic_retention=dead_retention,
    )
    await eventually(lambda: _succeeds(kafka.create_topics(settings)))
    try:
        yield topics
    finally:
        if not keep:
            await eventually(lambda: _succeeds(_delete(topics)))


async def _delete(topics: Topics) -> None:
    async with _admin(topics.bootstrap) as admin:
        await admin.delete_topics([t.name for t in (topics.events, topics.dead, topics.refused)])


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AdminClient]:
    admin = AdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _succeeds(call: Awaitable[object]) -> bool:
    """Return whether Kafka answers; a broker that was frozen may leave its cluster for a moment."""
    try:
        await call
    except KafkaError:
        return False
    return True


async def broker_is_back(bootstrap: str) -> bool:
    """Return whether the cluster has its broker, so that topics can be created and deleted."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except KafkaError:
        return False
    finally:
        await client.close()


def record_of(event: Event) -> Record:
    """Return the record that ingest writes for an event."""
    return Record(wire.encode(event), wire.partition_key(event), dict([wire.VERSION_HEADER]))


def _read(record: object) -> Record:
    value, key, partition, offset = (
        getattr(record, name) for name in ("value", "key", "partition", "offset")
    )
    return Record(value, key, dict(getattr(record, "headers", ())), partition, offset)
