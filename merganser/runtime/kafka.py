"""Kafka clients as every process configures them, and the topics."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiokafka
import structlog
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from merganser.runtime import kafka_connection, kafka_records
from merganser.runtime.kafka_connection import AdminClient
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.retry import backoff
from merganser.runtime.settings import Settings
from schemas.dead_letter import Header
from schemas.refused_event import MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

kafka_connection.install()
kafka_records.install()

METADATA_SECONDS = 10
"""How often a client reads the topic's partitions: until then, it does not read a new partition.
aiokafka's default is five minutes."""

BATCH = 1 << 20
"""Maximum bytes of a producer's batch for one partition, if the topic allows as much."""

_DAY_MS = 24 * 3600 * 1000

_HOUR_MS = 3600 * 1000

_REFUSED = {
    "max.message.bytes": str(2 * MAX_RECORD_BYTES),
    # A day, and in segments of four hours or 64 MiB, so that Kafka deletes soon what is older. No
    # managed service demands longer or larger ones.
    "retention.ms": str(_DAY_MS),
    "segment.ms": str(4 * _HOUR_MS),
    "segment.bytes": str(64 << 20),
    # Whatever clients send, the topic takes at most this and a segment on each of its replicas.
    "retention.bytes": str(256 << 20),
}
"""Of the topic of refused events."""

_MAX_RETENTION_MS = 36_500 * _DAY_MS
"""A longer retention counts as none."""


def connection(settings: Settings, process: str) -> dict[str, Any]:
    """Return the arguments of every aiokafka client: where the brokers are, and how to log in."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": f"merganser-{process}",
        "metadata_max_age_ms": METADATA_SECONDS * 1000,
        **settings.security(),
    }


def producer(
    settings: Settings, process: str, *, timeout: float, largest: int | None = None
) -> aiokafka.AIOKafkaProducer:
    """Return an idempotent producer with acks=all.

    Args:
        settings: how to reach the brokers.
        process: the name that brokers log.
        timeout: of a request, in seconds.
        largest: most bytes of a record; by default what the topic of events takes.
    """
    largest = largest or settings.topic_max_record
    return aiokafka.AIOKafkaProducer(
        **connection(settings, process),
        acks="all",
        enable_idempotence=True,
        max_batch_size=min(BATCH, largest),
        max_request_size=largest,
        request_timeout_ms=int(timeout * 1000),
    )


async def send(
    producer: aiokafka.AIOKafkaProducer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header],
) -> None:
    """Publish one record and wait for the acknowledgment.

    Raises:
        MessageSizeTooLargeError: the record exceeds the limit of the topic or the producer.
        KafkaError: the broker cannot be reached or refuses.
    """
    if key is None and value is None:
        # aiokafka's `send` refuses a record without key and value; Kafka accepts it.
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=list(headers))
        partition = random.choice(list(await producer.partitions_for(topic)))  # noqa: S311 - no secret
        acknowledged = await producer.send_batch(batch, topic, partition=partition)
    else:
        acknowledged = await producer.send(topic, value, key=key, headers=list(headers))
    await acknowledged


@asynccontextmanager
async def reader(
    settings: Settings, process: str, topic: str
) -> AsyncIterator[aiokafka.AIOKafkaConsumer]:
    """Run a consumer of all partitions of a topic, without a group and without commits.

    Raises:
        KafkaError: the broker cannot be reached, or the topic does not exist.
    """
    consumer = aiokafka.AIOKafkaConsumer(
        topic,
        **connection(settings, process),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=max(settings.topic_max_record, settings.dead_topic_max_record),
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def start(client: Any, stop: Stop) -> bool:
    """Start a client, waiting for the broker; return False if the process stops first."""
    for delay in backoff():
        try:
            await client.start()
        except KafkaError as error:
            log.warning(
                "Kafka does not answer, trying again",
                error=type(error).__name__,
                hint="if the broker closes the connection, check MERGANSER_KAFKA_SECURITY and "
                "MERGANSER_KAFKA_CERTIFICATE",
            )
        else:
            return True
        if await stop.wait(delay):
            return False
    raise AssertionError("backoff never ends")


@asynccontextmanager
async def _admin(settings: Settings, process: str) -> AsyncIterator[AdminClient]:
    admin = AdminClient(**connection(settings, process))
    try:
        await admin.start()
        yield admin
    finally:
        await asyncio.shield(admin.close())


async def create_topics(settings: Settings) -> list[str]:
    """Create the missing topics and return their names.

    This needs the permission to create topics only if a topic is missing.

    Raises:
        KafkaError: the broker cannot be reached or refuses.
    """
    async with _admin(settings, "topics") as admin:
        existing = set(await admin.list_topics())
        missing = [topic for topic in _topics(settings) if topic.name not in existing]
        response = await admin.create_topics(missing) if missing else None
    created = []
    for topic, code, *message in response.topic_errors if response else ():
        error = for_code(code)
        if code == 0:
            created.append(topic)
        elif error is not TopicAlreadyExistsError:
            raise error(": ".join([topic, *filter(None, message)]))
    return created


def _topics(settings: Settings) -> list[NewTopic]:
    common = {
        # The broker's clock, not ingest's: with ingest's clock an hour ahead the broker would
        # refuse its records; days behind, retention would delete them before they are read.
        "message.timestamp.type": "LogAppendTime",
        # With three replicas, acks=all waits for at least two: one may fail without a loss.
        "min.insync.replicas": "2" if settings.topic_replicas > 2 else "1",  # noqa: PLR2004
    }
    events = {
        "max.message.bytes": str(settings.topic_max_record),
        "retention.ms": str(settings.topic_retention * _DAY_MS or -1),
    }
    dead = {
        "max.message.bytes": str(settings.dead_topic_max_record),
        "retention.ms": str(settings.dead_topic_retention * _DAY_MS or -1),
    }
    partitions, replicas = settings.topic_partitions, settings.topic_replicas
    return [
        NewTopic(settings.topic, partitions, replicas, topic_configs=common | events),
        NewTopic(settings.dead_topic, 1, replicas, topic_configs=common | dead),
        NewTopic(settings.refused_topic, 1, replicas, topic_configs=common | _REFUSED),
    ]


async def read_holding_times(settings: Settings) -> dict[str, int]:
    """Return how long each topic may keep a record, in milliseconds; -1: without limit.

    Kafka deletes whole segments by the age of their last record, so a record stays for up to
    `retention.ms` and `segment.ms` together.

    Raises:
        KafkaError: the broker cannot be reached, has no such topic, or refuses.
    """
    topics = [settings.topic, settings.dead_topic]
    keys = {"cleanup.policy": None, "retention.ms": None, "segment.ms": None}
    async with _admin(settings, "admin") as admin:
        responses = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, keys) for topic in topics]
        )
    times = {}
    for code, message, _, topic, entries in (
        resource for response in responses for resource in response.resources
    ):
        if code:
            raise for_code(code)(message)
        values = {name: value for name, value, *_ in entries}
        retention = int(values["retention.ms"])
        deletes = "delete" in values["cleanup.policy"].split(",")
        is_limited = deletes and 0 <= retention <= _MAX_RETENTION_MS
        times[topic] = retention + int(values["segment.ms"]) if is_limited else -1
    return times


class Member(NamedTuple):
    """A client that reads topics as a member of a consumer group."""

    id: str
    client_id: str
    host: str
    partitions: list[aiokafka.TopicPartition]
    """Empty while the group distributes the partitions."""


async def read_members(settings: Settings, group: str) -> list[Member]:
    """Return the members of a consumer group by their ids, as its coordinator knows them.

    Raises:
        KafkaError: the broker cannot be reached or refuses.
    """
    async with _admin(settings, "admin") as admin:
        (response,) = await admin.describe_consumer_groups([group])
    ((code, _, _, _, _, members, *_),) = response.groups
    if code:
        raise for_code(code)(group)
    return sorted(
        Member(
            member_id,
            client_id,
            host.removeprefix("/"),
            ConsumerProtocolMemberAssignment.decode(assignment).partitions() if assignment else [],
        )
        for member_id, client_id, host, _, assignment in members
    )


async def cluster_id(settings: Settings) -> str:
    """Return the cluster's id: an offset is meaningful only together with it.

    Raises:
        KafkaError: no broker answers.
    """
    async with _admin(settings, "cluster") as admin:
        description = await admin.describe_cluster()
    return str(description["cluster_id"])


async def wait_for_cluster_id(settings: Settings, stop: Stop) -> str:
    """Return the cluster's id; wait for a broker.

    Raises:
        StoppedWhileWaiting: the process stops first.
    """
    for delay in backoff():
        try:
            return await cluster_id(settings)
        except KafkaError as error:
            log.warning("Kafka does not answer, trying again", error=type(error).__name__)
        if await stop.wait(delay):
            raise StoppedWhileWaiting
    raise AssertionError("backoff never ends")
