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

from runtime import kafka_connection
from runtime.lifecycle import Stop, StoppedWhileWaiting
from runtime.retry import backoff
from runtime.settings import Settings
from schemas.dead_letter import Header

log = structlog.get_logger(__name__)

kafka_connection.install()

LARGEST_RECORD = 4 << 20
"""Bytes of a record that the topics take and the clients send: an event grows when validated."""

METADATA_SECONDS = 10
"""Age at which a client asks for the topic anew: events in a partition that was added wait for it.
The clients' own default is five minutes."""

LARGEST_LETTER = 32 << 20
"""The same of the topic of dead letters. A record that somebody else compressed into 4 MiB may be
larger unpacked; up to here its letter has all of it."""

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
    settings: Settings, process: str, *, timeout: float, largest: int = LARGEST_RECORD
) -> aiokafka.AIOKafkaProducer:
    """An idempotent producer with acks=all (design §5).

    Args:
        settings: where the brokers are.
        process: a name that brokers log.
        timeout: seconds for a request.
        largest: bytes of a record.
    """
    return aiokafka.AIOKafkaProducer(
        **connection(settings, process),
        acks="all",
        enable_idempotence=True,
        max_batch_size=1 << 20,
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
        max_partition_fetch_bytes=LARGEST_RECORD,
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

    Raises:
        KafkaError: the broker cannot be reached or refuses.
    """
    admin = AIOKafkaAdminClient(**connection(settings, "topics"))
    await admin.start()
    try:
        common = {
            # The broker's clock, not the gateway's: records of one that is an hour ahead would be
            # refused, and those of one that is days behind deleted before they are read.
            "message.timestamp.type": "LogAppendTime",
            # With three replicas, acks=all is to mean two at least: one may fail, none is lost.
            "min.insync.replicas": "2" if settings.topic_replicas > 2 else "1",  # noqa: PLR2004
        }
        response = await admin.create_topics(
            [
                NewTopic(
                    settings.topic,
                    settings.topic_partitions,
                    settings.topic_replicas,
                    topic_configs=common
                    | {
                        "max.message.bytes": str(LARGEST_RECORD),
                        "retention.ms": str(settings.topic_retention * _DAY_MS or -1),
                    },
                ),
                NewTopic(
                    settings.dead_topic,
                    1,
                    settings.topic_replicas,
                    topic_configs=common
                    | {"max.message.bytes": str(LARGEST_LETTER), "retention.ms": "-1"},
                ),
            ]
        )
    finally:
        await admin.close()
    made = []
    for topic, code, *message in response.topic_errors:
        error = for_code(code)
        if code == 0:
            made.append(topic)
        elif error is not TopicAlreadyExistsError:
            raise error(*message)
    return made


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
