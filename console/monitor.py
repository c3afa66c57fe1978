"""Watches the pipeline: samples positions and figures, and keeps those of some minutes.

The figures come from Kafka and Postgres, so the console needs no Prometheus.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from merganser.admin.overview import TableFigures, read_figures
from merganser.http.errors import HttpError
from merganser.queries.pool import Pool
from merganser.runtime import kafka
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import describe
from merganser.runtime.settings import ResolverSettings

log = structlog.get_logger(__name__)

INTERVAL = 2.0
"""Seconds between two samples."""

KEPT = 150
"""Samples: five minutes."""

RATE_SAMPLES = 5
"""Intervals that a rate is the average of."""

KAFKA_SECONDS = 5.0
"""How long Kafka may take to say where the topic ends."""


@dataclass(frozen=True, slots=True)
class Partition:
    """How far one partition is."""

    number: int
    log_end: int
    """The offset after the last record."""
    next_offset: int | None
    """The first offset that no resolver has processed; None if none has read the partition."""

    @property
    def lag(self) -> int:
        """Records that wait."""
        return max(0, self.log_end - (self.next_offset or 0))


@dataclass(frozen=True, slots=True)
class Sample:
    """The pipeline at one moment. None: the server did not answer."""

    at: datetime
    figures: TableFigures | None
    partitions: tuple[Partition, ...] | None

    @property
    def accepted(self) -> int | None:
        """Records that were ever written to the topic."""
        return sum(p.log_end for p in self.partitions) if self.partitions is not None else None

    @property
    def processed(self) -> int | None:
        """Records that resolvers have ever processed."""
        if self.partitions is None or self.figures is None:
            return None
        return sum(p.next_offset or 0 for p in self.partitions)

    @property
    def lag(self) -> int | None:
        """Records that wait, of all partitions."""
        return sum(p.lag for p in self.partitions) if self.partitions is not None else None


class Monitor:
    """Samples the pipeline.

    Args:
        pool: of connections to Postgres.
        settings: how to reach Kafka; the topic and the group.
        stop: ends the sampling.
    """

    def __init__(self, pool: Pool, settings: ResolverSettings, stop: Stop) -> None:
        self._pool = pool
        self._settings = settings
        self._stop = stop
        self._cluster: str | None = None
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        """The oldest first."""

    async def run(self) -> None:
        """Sample until the process stops."""
        while not self._stop.is_set():
            try:
                async with kafka.reader(self._settings, "console", self._settings.topic) as reader:
                    self._cluster = await kafka.cluster_id(self._settings)
                    await self._sample_with(reader)
            except (KafkaError, TimeoutError) as error:
                log.warning("Kafka does not answer, trying again", error=type(error).__name__)
                await self.sample(None)
                await self._stop.wait(INTERVAL)

    async def sample(self, ends: Mapping[TopicPartition, int] | None) -> None:
        """Take one sample.

        Args:
            ends: the offset after the last record of each partition; None if Kafka does not answer.
        """
        figures = await self._read_figures(ends or {})
        self.samples.append(Sample(datetime.now(UTC), figures, _partitions(ends, figures)))

    async def _sample_with(self, reader: AIOKafkaConsumer) -> None:
        """Sample until the process stops; read where the topic ends, without its records."""
        while True:
            partitions = reader.assignment()
            reader.pause(*partitions)
            async with asyncio.timeout(KAFKA_SECONDS):
                ends = await reader.end_offsets(partitions)
            await self.sample(ends)
            if await self._stop.wait(INTERVAL):
                return

    async def _read_figures(self, ends: Mapping[TopicPartition, int]) -> TableFigures | None:
        settings = self._settings
        try:
            async with self._pool.reading() as connection:
                return await read_figures(
                    connection,
                    settings.consumer_group,
                    self._cluster,
                    list(ends),
                    settings.nobody_ids,
                    datetime.now(UTC),
                )
        except (HttpError, psycopg.Error) as error:
            log.warning("no figures of the tables", error=describe(error))
            return None


def rates(values: list[tuple[datetime, int | None]]) -> list[float | None]:
    """Return the increase per second between each two values; None where one is unknown."""
    found: list[float | None] = []
    for (start, first), (end, last) in pairwise(values):
        seconds = (end - start).total_seconds()
        known = first is not None and last is not None and seconds > 0
        found.append(max(0, last - first) / seconds if known else None)  # type: ignore[operator] # both are numbers
    return found


def _partitions(
    ends: Mapping[TopicPartition, int] | None, figures: TableFigures | None
) -> tuple[Partition, ...] | None:
    if ends is None or figures is None:
        return None
    return tuple(
        Partition(partition.partition, end, figures.next_offsets.get(partition))
        for partition, end in sorted(ends.items())
    )
