"""The partitions that this member of the consumer group holds, and where each one stands.

Truth about positions is in Postgres (design §5). Kafka gets a copy of them for the tools that show
consumer lag; what it says of them is not used.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from merganser.runtime import metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database
from merganser.runtime.retry import backoff
from resolver.decode import Batch
from resolver.latency import Latency
from resolver.offsets import Fenced, Offsets
from resolver.stall_detector import Silence

log = structlog.get_logger(__name__)

REVOKE_SECONDS = 10
"""How long a rebalance waits for the batch in hand. Past it, the position's compare-and-set keeps
this member from writing what another one wrote."""

REPORT_SECONDS = 3
"""For Kafka to take the positions; the next report carries newer ones anyway."""

AWAY_SECONDS = 10
"""Kafka has not answered for so long: not ready."""


class WrongTopic(RuntimeError):
    """Postgres remembers positions that this topic never had."""


class Group(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """One member's assignment.

    A generation is a run of fetched records without a gap, from a seek to the next revocation. None
    stands for the time between: what is fetched then belongs to no position and is dropped.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        offsets: Offsets,
        database: Database,
        stop: Stop,
        longest_silence: float,
    ) -> None:
        self._consumer = consumer
        self._offsets = offsets
        self._database = database
        self._stop = stop
        self._longest_silence = longest_silence
        self.writing = asyncio.Lock()
        """Held while a batch is written."""
        self.generation: int | None = None
        self._generations = itertools.count(1)
        self.positions: dict[TopicPartition, int] = {}
        self.failure: Exception | None = None
        self.latency = Latency()
        self._joined = False
        self._sought = False
        self._silence = Silence()
        self._seeking = asyncio.Lock()
        self._gaps: set[tuple[TopicPartition, int]] = set()
        self._committing: asyncio.Future[None] | None = None
        self._reported_at = time.monotonic()
        self._unreported = ""
        metrics.SILENT.set_function(lambda: self._silence.seconds(time.monotonic()))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the batch in hand, drop what was read ahead, tell Kafka where we stand."""
        self.generation = None
        try:
            async with asyncio.timeout(REVOKE_SECONDS), self.writing:
                await self.report()
        except TimeoutError:
            log.warning("rebalance did not wait for the batch in hand")
        self.positions.clear()
        self._silence.revoked(time.monotonic())
        for partition in revoked:
            metrics.LAG.remove(partition.topic, str(partition.partition))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Go to the positions in Postgres."""
        partitions = list(assigned)
        self._joined = True
        self._silence.assigned(partitions, time.monotonic())
        try:
            await self.seek(partitions)
        except StoppedWhileWaiting:
            return
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on without seeking
            self.failure = error
            self._stop.set()
            return
        self._sought = True
        log.info("partitions assigned", partitions=sorted(p.partition for p in partitions))

    async def seek(self, partitions: list[TopicPartition]) -> None:
        """Void what was fetched and continue from the stored positions.

        Raises:
            WrongTopic: a stored position lies beyond the end of its partition.
            StoppedWhileWaiting: Kafka or Postgres is away and the process is to stop.
        """
        async with self._seeking:
            await self._seek(partitions)

    async def seek_again(self, generation: int) -> None:
        """The same for the partitions of a generation; a rebalance that began meanwhile sees to it.

        Raises:
            WrongTopic: a stored position lies beyond the end of its partition.
            StoppedWhileWaiting: Kafka or Postgres is away and the process is to stop.
        """
        async with self._seeking:
            if generation == self.generation:
                await self._seek(list(self.positions))

    async def follow(self) -> None:
        """Go back if somebody has moved the stored positions back: `merganser replay`.

        A batch would notice by its compare-and-set, but there may be none for long.

        Raises:
            WrongTopic: a stored position lies beyond the end of its partition.
            StoppedWhileWaiting: Kafka or Postgres is away and the process is to stop.
        """
        async with self._seeking:
            generation, ours = self.generation, dict(self.positions)
            stored = await self._database.transact(
                lambda connection: self._offsets.stored(connection, ours), self._stop
            )
        # Batches move both forwards, the stored one first.
        back = [p.partition for p, position in stored.items() if position < ours[p]]
        if back and generation is not None:
            log.info("positions were moved back, reading again", partitions=sorted(back))
            await self.seek_again(generation)

    async def _seek(self, partitions: list[TopicPartition]) -> None:
        self.generation = None
        starts, ends = await self._bounds(partitions)
        stored = await self._database.transact(
            lambda connection: self._offsets.progress(connection, starts), self._stop
        )
        for partition, progress in stored.items():
            position = progress.position
            if position > ends[partition]:
                raise WrongTopic(
                    f"position {position} lies beyond the end ({ends[partition]}) of "
                    f"{partition.topic}-{partition.partition}: the topic was made anew. To "
                    'read it from its start, delete its rows from "consumerOffsets".'
                )
            back = position < self.positions.get(partition, 0)
            self.latency.sought(partition, progress, back=back)
            if partition in self._consumer.assignment():  # else: a rebalance is on its way
                self._consumer.seek(partition, position)
        # Nothing is awaited after the seeks: what is fetched from now on starts there.
        self.positions = {p: progress.position for p, progress in stored.items()}
        self.generation = next(self._generations)

    async def _bounds(
        self, partitions: list[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """The first and the next offset of each partition; waits for Kafka."""
        for delay in backoff():
            try:
                return (
                    await self._consumer.beginning_offsets(partitions),
                    await self._consumer.end_offsets(partitions),
                )
            except KafkaError as error:
                log.warning("offsets not known yet, trying again", error=type(error).__name__)
            if await self._stop.wait(delay):
                raise StoppedWhileWaiting
        raise AssertionError("backoff never ends")

    def standing(self, generation: int, batch: Batch) -> dict[TopicPartition, int]:
        """The positions that a batch starts from.

        Raises:
            Fenced: its partitions have left this member, or records before it were not read.
        """
        if generation != self.generation:
            raise Fenced
        olds = {partition: self.positions[partition] for partition in batch.positions}
        for partition, start in batch.starts.items():
            gap = (partition, olds[partition])
            if start > olds[partition] and gap not in self._gaps:
                # Read it once more: what is still missing then is not there.
                self._gaps.add(gap)
                log.warning("records are missing, reading again", partition=partition.partition)
                raise Fenced
        return olds

    async def account(self, batch: Batch, olds: dict[TopicPartition, int]) -> None:
        """Say what retention deleted before it was resolved; other gaps hold no records."""
        gaps = {p: start for p, start in batch.starts.items() if start > olds[p]}
        if not gaps:
            return
        starts, _ = await self._bounds(list(gaps))
        for partition, start in gaps.items():
            lost = min(start, starts[partition]) - olds[partition]
            if lost > 0:
                metrics.LOST.inc(lost)
                log.error(
                    "records were deleted by retention before they were resolved",
                    partition=partition.partition,
                    count=lost,
                )

    def advance(self, generation: int, positions: dict[TopicPartition, int]) -> None:
        """A batch was written; its partitions may have left meanwhile."""
        if generation == self.generation:
            self.positions.update(positions)
            self._silence.wrote(positions, time.monotonic())

    async def report(self) -> None:
        """Give Kafka the positions and read the lag: once a second, and before partitions leave."""
        positions = dict(self.positions)
        ends: dict[TopicPartition, int] = {}
        if asked := list(positions) or self._any_partition():
            step = "the ends of partitions"
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    ends = await self._consumer.end_offsets(asked)
                    step = "the commit of positions"
                    if positions:
                        with contextlib.suppress(CommitFailedError, IllegalStateError):
                            # Else the group has moved on: Kafka answers, and a later report counts.
                            await self._commit(positions)
            except (KafkaError, TimeoutError) as error:
                self._unreported = f"{step}: {type(error).__name__}"
                log.debug("positions not reported to Kafka", why=self._unreported)
                return
        self._reported_at = time.monotonic()
        # What was revoked while Kafka answered is another member's to report.
        lags = {
            p: end - positions[p]
            for p, end in ends.items()
            if p in positions and p in self.positions
        }
        for partition, lag in lags.items():
            metrics.LAG.labels(partition.topic, str(partition.partition)).set(lag)
        self._silence.lagging(lags, self._reported_at)

    async def _commit(self, positions: dict[TopicPartition, int]) -> None:
        """Give Kafka the positions, or wait for the last ones that it was given.

        A commit is never cancelled: aiokafka's request would go on alone, and asyncio would report
        its failure as one that nobody handled.
        """
        if self._committing is None or self._committing.done():
            self._committing = asyncio.ensure_future(self._consumer.commit(positions))
            self._committing.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({self._committing})
        self._committing.result()

    def _any_partition(self) -> list[TopicPartition]:
        """One to ask Kafka about, for a member that holds none at the moment."""
        return [
            TopicPartition(topic, min(numbers))
            for topic in self._consumer.subscription()
            if (numbers := self._consumer.partitions_for_topic(topic))
        ]

    def kafka(self) -> str | None:
        """What is wrong with Kafka, as far as this member sees it."""
        if not self._joined:
            return "has not joined the consumer group yet"
        away = time.monotonic() - self._reported_at
        if away > AWAY_SECONDS:
            return f"Kafka has not answered for {away:.0f} s ({self._unreported})"
        return None

    def blamed(self) -> str | None:
        """What keeps this member from reading, if that is known: Postgres or Kafka."""
        return self._database.failure or self.kafka()

    def stalled(self) -> str | None:
        """Which partition makes no progress, or was not even begun with."""
        if self._joined and not self._sought:
            return "the positions of its first partitions are not read yet"
        return self._silence.complaint(time.monotonic(), self._longest_silence)

    def excuse(self) -> None:
        """Something that has a check of its own explains why no record is resolved."""
        self._silence.excused(time.monotonic())
