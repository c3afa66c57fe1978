"""Looks on: how far the system is, who is up, how much memory they take; and restarts who died."""

import asyncio
import time
from dataclasses import dataclass, field

import psutil
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.chaos.stage import Stage

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""For a server's answer; without one the last figures stand."""


@dataclass
class Watch:
    """What is known now."""

    stage: Stage
    stored: int = 0
    unresolved: int = 0
    read: int = 0
    """Records of the topic that the resolvers are past."""
    ends: dict[int, int] = field(default_factory=dict)
    kafka_answers: bool = True
    postgres_answers: bool = True
    peaks: dict[str, int] = field(default_factory=dict)
    """The most memory that a process of each kind took, in bytes."""
    deaths: list[str] = field(default_factory=list)
    """Processes that ended although nobody ended them."""

    @property
    def resolved(self) -> int:
        """Events with a profile."""
        return self.stored - self.unresolved

    @property
    def lag(self) -> int:
        """Records that wait for the resolvers."""
        return max(sum(self.ends.values()) - self.read, 0)  # the two are not of one moment

    async def run(self) -> None:
        """Look on until cancelled."""
        bootstrap = self.stage.kafka.bootstrap
        # The topic grows under our eyes.
        async with AIOKafkaConsumer(
            bootstrap_servers=bootstrap, metadata_max_age_ms=3000
        ) as consumer:
            while True:
                start = time.monotonic()
                await asyncio.gather(self._ask_kafka(consumer), self._ask_postgres())
                self._measure()
                await self._supervise()
                await asyncio.sleep(max(LOOK_SECONDS - (time.monotonic() - start), 0.1))

    async def _ask_kafka(self, consumer: AIOKafkaConsumer) -> None:
        topic = self.stage.topics.events.name
        self.kafka_answers = False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await consumer._client.add_topic(topic)  # noqa: SLF001 - see Topic._partitions
                numbers = consumer.partitions_for_topic(topic) or set()
                ends = await consumer.end_offsets([TopicPartition(topic, n) for n in numbers])
        except (KafkaError, TimeoutError):
            return
        self.ends = {partition.partition: end for partition, end in ends.items()}
        self.kafka_answers = True

    async def _ask_postgres(self) -> None:
        self.postgres_answers = False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), await self.stage.connect() as connection:
                cursor = await connection.execute(
                    "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM events WHERE "
                    '"profileGuid" IS NULL), (SELECT sum("nextOffset") FROM "consumerOffsets")'
                )
                self.stored, self.unresolved, read = await cursor.fetchone() or (0, 0, 0)
        except (psycopg.Error, TimeoutError):
            return
        self.read = int(read or 0)
        self.postgres_answers = True

    def _measure(self) -> None:
        for service in self.stage.services:
            if service.running and service.name not in self.stage.handled:
                try:
                    memory = psutil.Process(service.pid).memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self.peaks[service.kind] = max(self.peaks.get(service.kind, 0), memory)

    async def _supervise(self) -> None:
        """Start who died, as an operator's supervisor does; that it died is held against us."""
        for service in self.stage.services:
            if service.name not in self.stage.handled and not service.running:
                self.deaths.append(f"{service.name} ended by itself with {service.exit_code}")
                await asyncio.to_thread(service.start)
