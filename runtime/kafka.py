"""Kafka connections as every process makes them, and the two topics."""

import asyncio
from typing import Any

import aiokafka
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from runtime.lifecycle import Stop
from runtime.retry import backoff
from runtime.settings import Settings

log = structlog.get_logger(__name__)

LARGEST_RECORD = 4 << 20
"""Bytes of a record that the topics take and the clients send: an event grows when validated."""

EVENTS_RETENTION_MS = 7 * 24 * 3600 * 1000


def connection(settings: Settings, process: str) -> dict[str, Any]:
    """The arguments that each of aiokafka's clients takes to find the brokers."""
    return {"bootstrap_servers": settings.kafka_bootstrap, "client_id": f"merganser-{process}"}


def producer(settings: Settings, process: str, *, timeout: float) -> aiokafka.AIOKafkaProducer:
    """An idempotent producer with acks=all (design §5); `timeout` in seconds for a request."""
    return aiokafka.AIOKafkaProducer(
        **connection(settings, process),
        acks="all",
        enable_idempotence=True,
        max_batch_size=1 << 20,
        max_request_size=LARGEST_RECORD,
        request_timeout_ms=int(timeout * 1000),
        metadata_max_age_ms=30_000,
    )


async def start(client: Any, stop: Stop) -> bool:
    """Start a client, waiting for the broker; False when the process is to stop before."""
    for delay in backoff():
        try:
            await client.start()
        except KafkaError as error:
            log.warning("Kafka does not answer, trying again", error=type(error).__name__)
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
            "max.message.bytes": str(LARGEST_RECORD),
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
                    topic_configs=common | {"retention.ms": str(EVENTS_RETENTION_MS)},
                ),
                NewTopic(
                    settings.dead_topic,
                    1,
                    settings.topic_replicas,
                    topic_configs=common | {"retention.ms": "-1"},
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
    """The id that the cluster was formatted with: positions of another cluster mean nothing."""
    admin = AIOKafkaAdminClient(**connection(settings, "cluster"))
    await admin.start()
    try:
        description = await admin.describe_cluster()
    finally:
        await asyncio.shield(admin.close())
    return str(description["cluster_id"])
