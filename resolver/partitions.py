"""The partitions that the consumer group has assigned to this resolver, and their offsets.

The offsets in Postgres are the truth (`resolver/offsets.py`). Kafka gets a copy, for tools that
show consumer lag; the resolver never reads it.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from merganser.runtime import metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database
from merganser.runtime.retry import backoff
from resolver.decode import Batch
from resolver.latency import LatencyTracker
from resolver.offsets import Fenced, Offsets
from resolver.stall_detector import StallDetector

log = structlog.get_logger(__name__)

REVOKE_SECONDS = 10
"""How long a rebalance waits for the current batch. After that, the compare-and-set of the offsets
keeps this resolver from writing what another one has written."""

COMMIT_SECONDS = 3
"""How long to wait for Kafka to take the copy of the offsets; the next copy follows anyway."""

NO_ANSWER_SECONDS = 10
"""If Kafka has not answered for so long, the resolver is not ready."""


class TopicRecreated(RuntimeError):
    """Postgres has offsets that this topic never had."""


class AssignedPartitions(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """The partitions assigned to this resolver.

    A *generation* numbers the records fetched between a seek and the next seek or revocation: they
    have no gap. Between a revocation and the next seek, `generation` is None, and the loop drops
    what it fetches.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        offsets: Offsets,
        database: Database,
        stop: Stop,
        stall_limit: float,
    ) -> None:
        self._consumer = consumer
        self._offsets = offsets
        self._database = database
        self._stop = stop
        self._stall_limit = stall_limit
        self.write_lock = asyncio.Lock()
        """Locked while the loop writes a batch."""
        self.generation: int | None = None
        self.next_offsets: dict[TopicPartition, int] = {}
        """The offset of the first record of each partition that is not resolved."""
        self.failure: Exception | None = None
        """The error that stops the process, raised where aiokafka would only log it."""
        self.latency = LatencyTracker()
        self._generations = itertools.count(1)
        self._joined = False
        self._offsets_read = False
        self._stalls = StallDetector()
        self._seek_lock = asyncio.Lock()
        self._fetched_to: dict[TopicPartition, int] = {}
        """The offset after the last record of each partition that the loop has fetched."""
        self._gaps: dict[TopicPartition, int] = {}
        """The last offset of each partition at which records were missing at the first read."""
        self._committing: asyncio.Future[None] | None = None
        self._answered_at = time.monotonic()
        self._last_failure = ""
        metrics.SILENT.set_function(lambda: self._stalls.seconds_without_progress(time.monotonic()))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the current batch, void what was fetched, and copy the offsets to Kafka."""
        self.generation = None
        try:
            async with asyncio.timeout(REVOKE_SECONDS), self.write_lock:
                await self.report()
        except TimeoutError:
            log.warning("the rebalance did not wait any longer for the current batch")
        self.next_offsets.clear()
        self._fetched_to.clear()
        self._stalls.start_rebalance(time.monotonic())
        for partition in revoked:
            metrics.LAG.remove(partition.topic, str(partition.partition))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Seek the offsets that are stored in Postgres."""
        partitions = list(assigned)
        self._joined = True
        self._stalls.assign(partitions, time.monotonic())
        try:
            async with self._seek_lock:
                await self._seek(partitions)
        except StoppedWhileWaiting:
            return
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and read without a seek
            self.failure = error
            self._stop.set()
            return
        self._offsets_read = True
        log.info("partitions assigned", partitions=sorted(p.partition for p in partitions))

    async def seek_again(self, generation: int) -> None:
        """Void what was fetched and seek the stored offsets again.

        Does nothing if the generation is over: then a rebalance or another seek does it.

        Raises:
            TopicRecreated: a stored offset is beyond the end of its partition.
            StoppedWhileWaiting: Kafka or Postgres is away and the process has to stop.
        """
        async with self._seek_lock:
            if generation == self.generation:
                await self._seek(list(self.next_offsets))

    async def follow_rewind(self) -> None:
        """Seek again if `merganser replay` has moved stored offsets back.

        The next batch would notice as well, but it may be long until there is one.

        Raises:
            TopicRecreated: a stored offset is beyond the end of its partition.
            StoppedWhileWaiting: Kafka or Postgres is away and the process has to stop.
        """
        async with self._seek_lock:
            generation, ours = self.generation, dict(self.next_offsets)
            stored = await self._database.transact(
                lambda connection: self._offsets.read(connection, ours), self._stop
            )
        # A batch moves both forward, the stored offset first: so smaller means moved back.
        rewound = [p.partition for p, offset in stored.items() if offset < ours[p]]
        if rewound and generation is not None:
            log.info("offsets were moved back, reading again", partitions=sorted(rewound))
            await self.seek_again(generation)

    async def _seek(self, partitions: list[TopicPartition]) -> None:
        self.generation = None
        starts, ends = await self._read_log_bounds(partitions)
        stored = await self._database.transact(
            lambda connection: self._offsets.read_or_create(connection, starts), self._stop
        )
        for partition, (next_offset, updated_at, is_new) in stored.items():
            if next_offset > ends[partition]:
                raise TopicRecreated(
                    f"the stored offset {next_offset} is beyond the end ({ends[partition]}) of "
                    f"{partition.topic}-{partition.partition}: the topic was deleted and created "
                    'again. To read it from its start, delete its rows from "consumerOffsets".'
                )
            rewound = next_offset < self.next_offsets.get(partition, 0)
            self.latency.start_reading(partition, updated_at, catches_up=is_new or rewound)
            if partition in self._consumer.assignment():  # else the next rebalance has started
                self._consumer.seek(partition, next_offset)
        # Without an await after the seeks: whatever is fetched from now on starts there.
        self.next_offsets = {p: offset.next_offset for p, offset in stored.items()}
        self._fetched_to = dict(self.next_offsets)
        self.generation = next(self._generations)

    async def _read_log_bounds(
        self, partitions: list[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return the first and the next offset of each partition's log; waits for Kafka."""
        for delay in backoff():
            try:
                return (
                    await self._consumer.beginning_offsets(partitions),
                    await self._consumer.end_offsets(partitions),
                )
            except KafkaError as error:
                log.warning("offsets unknown, trying again", error=type(error).__name__)
            if await self._stop.wait(delay):
                raise StoppedWhileWaiting
        raise AssertionError("backoff never ends")

    def check_start(self, generation: int, batch: Batch) -> dict[TopicPartition, int]:
        """Return the current offset of each of the batch's partitions.

        Raises:
            Fenced: the partitions were revoked, or records before the batch were not read.
        """
        if generation != self.generation:
            raise Fenced
        old_offsets = {partition: self.next_offsets[partition] for partition in batch.next_offsets}
        for partition, first_offset in batch.first_offsets.items():
            old_offset = old_offsets[partition]
            if first_offset > old_offset and self._gaps.get(partition) != old_offset:
                # Read once more. Records that are missing again do not exist.
                self._gaps[partition] = old_offset
                log.warning("records are missing, reading again", partition=partition.partition)
                raise Fenced
        return old_offsets

    async def report_lost(self, batch: Batch, old_offsets: dict[TopicPartition, int]) -> None:
        """Count records that Kafka's retention deleted before they were resolved.

        Other gaps are normal: compaction and aborted transactions leave them.
        """
        gaps = {p: first for p, first in batch.first_offsets.items() if first > old_offsets[p]}
        if not gaps:
            return
        log_starts, _ = await self._read_log_bounds(list(gaps))
        for partition, first_offset in gaps.items():
            lost = min(first_offset, log_starts[partition]) - old_offsets[partition]
            if lost > 0:
                metrics.LOST.inc(lost)
                log.error(
                    "records were deleted by retention before they were resolved",
                    partition=partition.partition,
                    count=lost,
                )

    def note_fetched(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Note the offsets after a fetched batch, before any await after the fetch."""
        self._fetched_to.update(next_offsets)

    def advance(self, generation: int, next_offsets: dict[TopicPartition, int]) -> None:
        """Note that a batch was committed; its partitions may have been revoked meanwhile."""
        if generation == self.generation:
            self.next_offsets.update(next_offsets)
            self._stalls.note_progress(next_offsets, time.monotonic())

    async def report(self) -> None:
        """Copy the offsets to Kafka and read the lag: once a second, and before a rebalance."""
        next_offsets = dict(self.next_offsets)
        log_ends: dict[TopicPartition, int] = {}
        waiting_from: dict[TopicPartition, int] = {}
        if partitions := list(next_offsets) or self._any_partition():
            step = "reading the ends of partitions"
            try:
                async with asyncio.timeout(COMMIT_SECONDS):
                    log_ends = await self._consumer.end_offsets(partitions)
                    waiting_from = await self._find_waiting(next_offsets)
                    step = "committing offsets"
                    if next_offsets:
                        # An error means that the group rebalances. Kafka did answer, and a later
                        # report succeeds.
                        with contextlib.suppress(CommitFailedError, IllegalStateError):
                            await self._commit(next_offsets)
            except (KafkaError, TimeoutError) as error:
                self._last_failure = f"{step}: {type(error).__name__}"
                log.debug("offsets not committed to Kafka", why=self._last_failure)
                return
        self._answered_at = time.monotonic()
        # A partition that was revoked meanwhile is another resolver's to report.
        lags = {
            p: max(end - waiting_from[p], 0)
            for p, end in log_ends.items()
            if p in next_offsets and p in self.next_offsets
        }
        for partition, lag in lags.items():
            metrics.LAG.labels(partition.topic, str(partition.partition)).set(lag)
        self._stalls.note_lag(lags, self._answered_at)

    async def _find_waiting(
        self, next_offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return the offset from which on records may wait, by partition.

        If all fetched records are resolved, that is the consumer's position. It is beyond the next
        offset where no records follow: markers of transactions, and what retention has deleted.
        """
        waiting_from = dict(next_offsets)
        for partition, next_offset in next_offsets.items():
            with contextlib.suppress(IllegalStateError):  # revoked meanwhile
                position = await self._consumer.position(partition)
                if self.generation and self._fetched_to.get(partition) == next_offset:
                    waiting_from[partition] = max(next_offset, position)
        return waiting_from

    async def _commit(self, next_offsets: dict[TopicPartition, int]) -> None:
        """Commit the offsets to Kafka, or wait for the commit that is under way.

        A commit is never cancelled: aiokafka would go on with the request, and asyncio would log
        its failure as an exception that was never retrieved.
        """
        committing = self._committing
        if committing is None or committing.done():
            committing = asyncio.ensure_future(self._consumer.commit(next_offsets))
            committing.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._committing = committing
        await asyncio.wait({committing})
        committing.result()  # another report may have started the next commit by now

    def _any_partition(self) -> list[TopicPartition]:
        """Return a partition to ask Kafka about while this resolver has none."""
        return [
            TopicPartition(topic, min(numbers))
            for topic in self._consumer.subscription()
            if (numbers := self._consumer.partitions_for_topic(topic))
        ]

    def describe_kafka_failure(self) -> str | None:
        """Return what is wrong with Kafka, or None."""
        if not self._joined:
            return "has not joined the consumer group yet"
        seconds = time.monotonic() - self._answered_at
        if seconds > NO_ANSWER_SECONDS:
            return f"Kafka has not answered for {seconds:.0f} s ({self._last_failure})"
        return None

    def describe_failure(self) -> str | None:
        """Return what is wrong with Postgres or Kafka, or None."""
        return self._database.failure or self.describe_kafka_failure()

    def describe_stall(self) -> str | None:
        """Return which partition makes no progress, or None."""
        if self._joined and not self._offsets_read:
            return "the stored offsets of the first partitions are not read yet"
        return self._stalls.describe_stall(time.monotonic(), self._stall_limit)

    def restart_stall_clocks(self) -> None:
        """Ignore the time without progress so far: another check explains it."""
        self._stalls.restart_clocks(time.monotonic())
