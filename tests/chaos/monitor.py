"""Watches a run: progress, whether the servers answer, memory; and restarts processes that died."""

import asyncio
import time
from dataclasses import dataclass, field

import psutil
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.chaos.deployment import Deployment

INTERVAL_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0
"""For a server's answer; without one the last figures stay."""


@dataclass
class Monitor:
    """The latest figures."""

    deployment: Deployment
    stored: int = 0
    unresolved: int = 0
    read: int = 0
    """Records of the topic that the resolvers have processed."""
    ends: dict[int, int] = field(default_factory=dict)
    kafka_answers: bool = True
    postgres_answers: bool = True
    peaks: dict[str, int] = field(default_factory=dict)
    """The most memory that a process of each kind took, in bytes."""
    deaths: list[str] = field(default_factory=list)
    """Processes that ended although no fault ended them."""

    @property
    def resolved(self) -> int:
        """Number of events with a profile."""
        return self.stored - self.unresolved

    @property
    def lag(self) -> int:
        """Number of records that wait for the resolvers."""
        return max(sum(self.ends.values()) - self.read, 0)  # the two are from different moments

    async def run(self) -> None:
        """Watch until cancelled."""
        topic = self.deployment.topics.events.name
        # A short maximum age: faults add partitions to the topic.
        async with AIOKafkaConsumer(
            bootstrap_servers=self.deployment.kafka.bootstrap, metadata_max_age_ms=3000
        ) as consumer:
            consumer.assign([TopicPartition(topic, 0)])  # makes it load the topic's metadata
            consumer.pause(TopicPartition(topic, 0))
            while True:
                start = time.monotonic()
                await asyncio.gather(self._query_kafka(consumer, topic), self._query_postgres())
                self._measure_memory()
                await self._restart_dead()
                await asyncio.sleep(max(INTERVAL_SECONDS - (time.monotonic() - start), 0.1))

    async def _query_kafka(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self.kafka_answers = False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                numbers = consumer.partitions_for_topic(topic) or set()
                ends = await consumer.end_offsets([TopicPartition(topic, n) for n in numbers])
        except (KafkaError, TimeoutError):
            return
        self.ends = {partition.partition: end for partition, end in ends.items()}
        self.kafka_answers = True

    async def _query_postgres(self) -> None:
        self.postgres_answers = False
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                await self.deployment.connect() as connection,
            ):
                cursor = await connection.execute(
                    "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM events WHERE "
                    '"profileGuid" IS NULL), (SELECT sum("nextOffset") FROM "consumerOffsets")'
                )
                self.stored, self.unresolved, read = await cursor.fetchone() or (0, 0, 0)
        except (psycopg.Error, TimeoutError):
            return
        self.read = int(read or 0)
        self.postgres_answers = True

    def _measure_memory(self) -> None:
        for service in self.deployment.services:
            if service.running and service.name not in self.deployment.stopped_by_fault:
                try:
                    memory = psutil.Process(service.pid).memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self.peaks[service.kind] = max(self.peaks.get(service.kind, 0), memory)

    async def _restart_dead(self) -> None:
        """Start dead processes, as an operator's supervisor does; each death is a failure."""
        for service in self.deployment.services:
            if service.name not in self.deployment.stopped_by_fault and not service.running:
                self.deaths.append(f"{service.name} ended by itself with {service.exit_code}")
                await asyncio.to_thread(service.start)
