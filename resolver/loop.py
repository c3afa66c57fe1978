"""The resolver's loop: fetch and decode the next batch while the current one is written."""

import asyncio
import time
from typing import Any, NamedTuple

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer
from psycopg import AsyncConnection

from merganser.identity import metrics as identity_metrics
from merganser.runtime import isolation, metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import ResolverSettings
from merganser.runtime.tracing import Tracing
from resolver.dead_letters import DeadLetterPublisher, TooManyDeadLetters
from resolver.decode import (
    RECORDS_PER_SLICE,
    Batch,
    decode_records,
    make_dead_letter,
    split_batch,
)
from resolver.offsets import Fenced
from resolver.partitions import AssignedPartitions
from resolver.writer import Writer, WrittenBatch
from schemas.dead_letter import Reason

log = structlog.get_logger(__name__)


class _Commit(NamedTuple):
    """A batch that is committed."""

    batch: Batch
    written: WrittenBatch
    """What its transaction did."""
    seconds: float
    """How long that took, retries included."""
    at: float
    """When, in seconds since 1970."""


class Resolver:
    """Reads batches from the topic and writes each one in a transaction."""

    def __init__(
        self,
        settings: ResolverSettings,
        consumer: AIOKafkaConsumer,
        partitions: AssignedPartitions,
        writer: Writer,
        database: Database,
        dead_letters: DeadLetterPublisher,
        traces: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._partitions = partitions
        self._writer = writer
        self._database = database
        self._dead_letters = dead_letters
        self._traces = traces
        self._may_decode = asyncio.Event()
        """Cleared while short statements of a batch run: decoding would delay each of them."""
        self._may_decode.set()
        self._commits: list[_Commit] = []
        """Batches that are not in metrics and logs yet."""
        self.halted: str | None = None
        """Why the resolver reads nothing until an operator restarts it."""

    async def run(self, stop: Stop) -> None:
        """Resolve records until the process has to stop.

        Raises:
            StoppedWhileWaiting: Postgres or Kafka is away and the process has to stop.
        """
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._report_every_second(stop)),
                tasks.create_task(self._follow_rewinds(stop)),
            ]
            reading = asyncio.create_task(self._read_batch())
            try:
                while (read := await stop.unless(reading)) is not None:
                    generation, batch = read
                    reading = asyncio.create_task(self._read_batch())
                    async with self._partitions.write_lock:
                        if generation == self._partitions.generation:
                            self._may_decode.clear()
                            await self._resolve(generation, batch, stop)
                    self._may_decode.set()
                    if not reading.done():
                        self._observe_commits()
            except TooManyDeadLetters as error:
                self._observe_commits()
                self.halted = str(error)
                metrics.HALTED.set(1)
                log.error(  # noqa: TRY400 - the traceback does not help an operator
                    "halted: look at the dead letters, fix the cause, restart", why=str(error)
                )
                await stop.wait()
            finally:
                for task in (reading, *background):
                    task.cancel()
                self._observe_commits()
        await self._partitions.report()

    async def _read_batch(self) -> tuple[int, Batch]:
        """Return the next records, up to a batch, and their generation.

        In slices, while the batch before is copied: between two of them, its next block of rows is
        encoded, because Postgres must not wait for the decoding.
        """
        generation, batch = None, Batch()
        while True:
            await self._may_decode.wait()
            self._observe_commits()
            room = self._settings.resolver_batch - batch.size
            fetched = await self._consumer.getmany(
                timeout_ms=0 if batch.size else 1000, max_records=min(room, RECORDS_PER_SLICE)
            )
            # Without an await after the fetch: the records belong to this generation.
            if generation != self._partitions.generation:
                generation, batch = self._partitions.generation, Batch()
            if generation is None:
                continue
            if fetched:
                self._partitions.note_fetched({p: r[-1].offset + 1 for p, r in fetched.items()})
                batch.extend(decode_records(fetched, self._settings.nobody_ids))
            if batch.size and (not fetched or batch.size >= self._settings.resolver_batch):
                return generation, batch
            await asyncio.sleep(0)

    async def _report_every_second(self, stop: Stop) -> None:
        while not await stop.wait(1):
            await self._partitions.report()
            if self._has_known_failure():
                self._partitions.restart_stall_clocks()

    async def _follow_rewinds(self, stop: Stop) -> None:
        while not await stop.wait(1):
            await self._partitions.follow_rewind()

    def _has_known_failure(self) -> bool:
        """Return whether another check explains why the resolver makes no progress."""
        return bool(self.halted or self._database.failure or self._partitions.describe_failure())

    def describe_stall(self) -> str | None:
        """Return where records wait without progress and without a known failure, or None."""
        return None if self._has_known_failure() else self._partitions.describe_stall()

    async def _resolve(self, generation: int, batch: Batch, stop: Stop) -> None:
        """Publish the dead letters of a batch, then write its events."""
        try:
            self._partitions.check_start(generation, batch)
            await self._dead_letters.publish(batch.dead_letters, stop)
            await self._write(generation, batch, isolation.TRIES, stop)
        except Fenced:
            metrics.FENCED.inc()
            log.warning("the batch does not start at the stored offsets; reading from these again")
            self._observe_commits()  # before its partitions are read again
            await self._partitions.seek_again(generation)

    async def _write(self, generation: int, batch: Batch, tries: int, stop: Stop) -> None:
        """Write a batch; if one of its records fails, write all but that record.

        Raises:
            Fenced: the batch does not start at the stored offsets. Parts of the batch that were
                written before stay.
        """
        start = time.monotonic()
        old_offsets = self._partitions.check_start(generation, batch)

        async def write(connection: AsyncConnection[Any]) -> WrittenBatch:
            return await self._writer.write(
                connection, batch, old_offsets, at_copy=self._may_decode.set
            )

        try:
            written = await self._database.transact(write, stop, tries)
        except Fenced:
            raise
        except Exception as error:
            if not batch.records or not isolation.blames_items(error):
                raise
            await self._write_in_parts(generation, batch, error, stop)
            return
        self._partitions.advance(generation, batch.next_offsets)
        await self._partitions.report_lost(batch, old_offsets)
        self._commits.append(_Commit(batch, written, time.monotonic() - start, time.time()))

    async def _write_in_parts(
        self, generation: int, batch: Batch, error: Exception, stop: Stop
    ) -> None:
        """Halve a batch that failed; a record that fails alone becomes a dead letter."""
        if len(batch.records) > 1:
            for half in split_batch(batch):
                is_single = len(half.records) == 1
                tries = isolation.TRIES if is_single else isolation.NARROWING_TRIES
                await self._write(generation, half, tries, stop)
            return
        ((record, _),) = batch.records
        reason = Reason.REFUSED if isinstance(error, psycopg.Error) else Reason.FAILED
        letter = make_dead_letter(record, reason, isolation.reason(error))
        await self._dead_letters.publish([letter], stop)
        without_record = Batch(
            dead_letters=[*batch.dead_letters, letter], next_offsets=batch.next_offsets
        )
        await self._write(generation, without_record, isolation.TRIES, stop)

    def _observe_commits(self) -> None:
        while self._commits:
            self._observe(self._commits.pop(0))

    def _observe(self, commit: "_Commit") -> None:
        """Record a committed batch in metrics, log and trace."""
        batch, written, seconds, now = commit
        metrics.CONSUMED.inc(batch.size)
        metrics.REPEATED.inc(written.repeated)
        metrics.ALREADY_DELETED.inc(written.deleted)
        metrics.SUPPRESSED.inc(written.suppressed)
        identity_metrics.count_plan(written.plan, len(written.events), seconds)
        resolved = [record for record, _ in batch.records]
        if len(written.events) < len(resolved):
            stored = {event["guid"] for event in written.events}
            resolved = [record for record, event in batch.records if event["guid"] in stored]
        latency = self._partitions.latency.measure(resolved, now)
        if latency is not None:
            metrics.TO_RESOLVED_SECONDS.observe(latency)
        counts = {
            "events": len(written.events),
            "repeated": written.repeated,
            "deleted": written.deleted,
            "suppressed": written.suppressed,
            "merges": len(written.plan.merges),
        }
        log.info(
            "batch written",
            records=batch.size,
            **counts,
            dead=len(batch.dead_letters),
            seconds=round(seconds, 3),
        )
        if self._traces:
            self._traces.batch(
                (record.headers for record, _ in batch.records),
                int((now - seconds) * 1e9),
                counts,
            )
