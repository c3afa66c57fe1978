"""Kafka connections as every process makes them, and the two topics."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from merganser.runtime import kafka_connection
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.retry import backoff
from merganser.runtime.settings import Settings
from schemas.dead_letter import Header

log = structlog.get_logger(__name__)

kafka_connection.install()

METADATA_SECONDS = 10
"""Age at which a client asks for the topic anew: events in a partition that was added wait for it.
The clients' own default is five minutes."""

BATCH = 1 << 20
"""Bytes of a partition's batch that a producer sends, if the topic takes as much."""

_DAY_MS = 24 * 3600 * 1000


def connection(settings: Settings, process: str) -> dict[str, Any]:
    """The arguments that each of aiokafka's clients takes to find the brokers, and to be let in."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": f"merganser-{process}",
        "metadata_max_age_ms": METADATA_SECONDS * 1000,
        **settings.security(),
    }


def producer(
    settings: Settings, process: str, *, timeout: float, largest: int | None = None
) -> aiokafka.AIOKafkaProducer:
    """An idempotent producer with acks=all (design §5).

    Args:
        settings: where the brokers are.
        process: a name that brokers log.
        timeout: seconds for a request.
        largest: bytes of a record; as many as the topic of events takes if it is not given.
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
    """Publish one record, whatever is in it, and wait for the acknowledgement.

    Raises:
        MessageSizeTooLargeError: the topic does not take so large a record, or the producer.
        KafkaError: the broker cannot be reached or refuses.
    """
    if key is None and value is None:
        # `send` refuses a record of neither, which Kafka does not.
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
    """A consumer of all partitions of a topic that belongs to no group and commits nothing.

    Raises:
        KafkaError: the broker cannot be reached, or has no such topic.
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
    """Start a client, waiting for the broker; False when the process is to stop before."""
    for delay in backoff():
        try:
            await client.start()
        except KafkaError as error:
            log.warning(
                "Kafka does not answer, trying again",
                error=type(error).__name__,
                hint="a broker that just hangs up may want another MERGANSER_KAFKA_SECURITY, "
                "or a MERGANSER_KAFKA_CERTIFICATE",
            )
        else:
            return True
        if await stop.wait(delay):
            return False
    raise AssertionError("backoff never ends")


async def create_topics(settings: Settings) -> list[str]:
    """Make the topics that are missing and return their names.

    Who finds all of them there needs no right to make any.

    Raises:
        KafkaError: the broker cannot be reached or refuses.
    """
    admin = AIOKafkaAdminClient(**connection(settings, "topics"))
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [topic for topic in _topics(settings) if topic.name not in there]
        response = await admin.create_topics(missing) if missing else None
    finally:
        await admin.close()
    made = []
    for topic, code, *message in response.topic_errors if response else ():
        error = for_code(code)
        if code == 0:
            made.append(topic)
        elif error is not TopicAlreadyExistsError:
            raise error(": ".join([topic, *filter(None, message)]))
    return made


def _topics(settings: Settings) -> list[NewTopic]:
    common = {
        # The broker's clock, not the gateway's: records of one that is an hour ahead would be
        # refused, and those of one that is days behind deleted before they are read.
        "message.timestamp.type": "LogAppendTime",
        # With three replicas, acks=all is to mean two at least: one may fail, none is lost.
        "min.insync.replicas": "2" if settings.topic_replicas > 2 else "1",  # noqa: PLR2004
    }
    events = {
        "max.message.bytes": str(settings.topic_max_record),
        "retention.ms": str(settings.topic_retention * _DAY_MS or -1),
    }
    dead = {"max.message.bytes": str(settings.dead_topic_max_record), "retention.ms": "-1"}
    partitions, replicas = settings.topic_partitions, settings.topic_replicas
    return [
        NewTopic(settings.topic, partitions, replicas, topic_configs=common | events),
        NewTopic(settings.dead_topic, 1, replicas, topic_configs=common | dead),
    ]


async def cluster_id(settings: Settings) -> str:
    """The id that the cluster was formatted with: positions of another cluster mean nothing.

    Raises:
        KafkaError: no broker answers.
    """
    admin = AIOKafkaAdminClient(**connection(settings, "cluster"))
    try:
        await admin.start()
        description = await admin.describe_cluster()
    finally:
        await asyncio.shield(admin.close())
    return str(description["cluster_id"])


async def awaited_cluster_id(settings: Settings, stop: Stop) -> str:
    """The same, waiting for a broker.

    Raises:
        StoppedWhileWaiting: the process is to stop before.
    """
    for delay in backoff():
        try:
            return await cluster_id(settings)
        except KafkaError as error:
            log.warning("Kafka does not answer, trying again", error=type(error).__name__)
        if await stop.wait(delay):
            raise StoppedWhileWaiting
    raise AssertionError("backoff never ends")
