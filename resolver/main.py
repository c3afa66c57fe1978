"""The resolver process: fetch and decode the next batch while this one is written."""

import asyncio
import time
from typing import Any

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from psycopg import AsyncConnection

from merganser.http.ops_server import Check, ops_server
from merganser.identity import metrics as identity_metrics
from merganser.runtime import isolation, kafka, lifecycle, logs, metrics, tracing
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from merganser.runtime.settings import ResolverSettings
from merganser.runtime.tracing import Tracing
from resolver.dead_letters import DeadLetters, Flood
from resolver.decode import Batch, halves, letter, read
from resolver.offsets import Fenced, Offsets
from resolver.partitions import Group
from resolver.writer import Writer, Written
from schemas import migrations
from schemas.dead_letter import Reason

log = structlog.get_logger(__name__)


class Resolver:
    """The loop over batches."""

    def __init__(
        self,
        settings: ResolverSettings,
        consumer: AIOKafkaConsumer,
        group: Group,
        writer: Writer,
        database: Database,
        dead_letters: DeadLetters,
        traces: Tracing | None = None,
    ) -> None:
        self._traces = traces
        self._settings = settings
        self._consumer = consumer
        self._group = group
        self._writer = writer
        self._database = database
        self._dead_letters = dead_letters
        self.halted: str | None = None
        """Why the loop has stopped for good, waiting for an operator."""

    async def run(self, stop: Stop) -> None:
        """Resolve until the process is to stop.

        Raises:
            StoppedWhileWaiting: Postgres or Kafka is away and the process is to stop.
        """
        ahead: asyncio.Queue[tuple[int, Batch]] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(self._read_ahead(ahead)),
                tasks.create_task(self._tick(stop)),
                tasks.create_task(self._follow(stop)),
            ]
            try:
                while (item := await stop.unless(ahead.get())) is not None:
                    generation, batch = item
                    async with self._group.writing:
                        if generation == self._group.generation:
                            await self._settle_or_seek(generation, batch, stop)
            except Flood as flood:
                self.halted = str(flood)
                metrics.HALTED.set(1)
                log.error(  # noqa: TRY400 - where it was raised tells an operator nothing
                    "halted: look at the dead letters, mend the cause, restart", why=str(flood)
                )
                await stop.wait()
            finally:
                for task in others:
                    task.cancel()
        await self._group.report()

    async def _read_ahead(self, ahead: asyncio.Queue[tuple[int, Batch]]) -> None:
        while True:
            fetched = await self._consumer.getmany(
                timeout_ms=1000, max_records=self._settings.resolver_batch
            )
            # Nothing is awaited between the fetch and here: the records belong to this generation.
            generation = self._group.generation
            if fetched and generation is not None:
                await ahead.put((generation, read(fetched, self._settings.nobody_ids)))

    async def _tick(self, stop: Stop) -> None:
        while not await stop.wait(1):
            await self._group.report()
            if self._explained():
                self._group.excuse()

    def _explained(self) -> bool:
        """Whether another check says why no record is resolved."""
        return bool(self.halted or self._database.failure or self._group.blamed())

    def stalled(self) -> str | None:
        """Where records wait and none is resolved, although nothing explains it."""
        return None if self._explained() else self._group.stalled()

    async def _follow(self, stop: Stop) -> None:
        while not await stop.wait(1):
            await self._group.follow()

    async def _settle_or_seek(self, generation: int, batch: Batch, stop: Stop) -> None:
        try:
            await self._settle(generation, batch, stop)
        except Fenced:
            metrics.FENCED.inc()
            log.warning("this batch does not start at our position; reading that again")
            await self._group.seek_again(generation)

    async def _settle(self, generation: int, batch: Batch, stop: Stop) -> None:
        """Publish the dead letters of a batch and write its events.

        Raises:
            Fenced: the positions are others than the batch starts from. What was written of it
                before stands.
        """
        self._group.standing(generation, batch)
        await self._dead_letters.publish(batch.dead, stop)
        await self._write(generation, batch, isolation.TRIES, stop)

    async def _write(self, generation: int, batch: Batch, tries: int, stop: Stop) -> None:
        """Write one batch, and if a record makes that fail, all but that record.

        Raises:
            Fenced: see `_settle`.
        """
        start = time.monotonic()
        olds = self._group.standing(generation, batch)

        async def work(connection: AsyncConnection[Any]) -> Written:
            return await self._writer.write(connection, batch, olds)

        try:
            written = await self._database.transact(work, stop, tries)
        except Fenced:
            raise
        except Exception as error:
            if not batch.records or not isolation.blames_items(error):
                raise
            await self._write_in_parts(generation, batch, error, stop)
            return
        self._group.advance(generation, batch.positions)
        await self._group.account(batch, olds)
        seconds = time.monotonic() - start
        self._count(batch, written, seconds)
        done = {
            "events": len(written.events),
            "repeated": written.repeated,
            "deleted": written.deleted,
            "suppressed": written.suppressed,
            "merges": len(written.plan.merges),
        }
        log.info(
            "batch written",
            records=batch.size,
            **done,
            dead=len(batch.dead),
            seconds=round(seconds, 3),
        )
        if self._traces:
            self._traces.batch(
                (record.headers for record, _ in batch.records),
                time.time_ns() - int(seconds * 1e9),
                done,
            )

    def _count(self, batch: Batch, written: Written, seconds: float) -> None:
        metrics.CONSUMED.inc(batch.size)
        metrics.REPEATED.inc(written.repeated)
        metrics.ALREADY_DELETED.inc(written.deleted)
        metrics.SUPPRESSED.inc(written.suppressed)
        identity_metrics.count(written.plan, len(written.events), seconds)
        stored = {event["guid"] for event in written.events}
        resolved = (record for record, event in batch.records if event["guid"] in stored)
        waited = self._group.latency.waited(resolved, time.time())
        if waited is not None:
            metrics.TO_RESOLVED_SECONDS.observe(waited)

    async def _write_in_parts(
        self, generation: int, batch: Batch, error: Exception, stop: Stop
    ) -> None:
        """Halve a batch that failed; a record that fails alone becomes a dead letter."""
        if len(batch.records) > 1:
            for half in halves(batch):
                alone = len(half.records) == 1
                tries = isolation.TRIES if alone else isolation.NARROWING_TRIES
                await self._write(generation, half, tries, stop)
            return
        ((record, _),) = batch.records
        reason = Reason.REFUSED if isinstance(error, psycopg.Error) else Reason.FAILED
        failed = letter(record, reason, isolation.reason(error))
        await self._dead_letters.publish([failed], stop)
        rest = Batch(dead=[*batch.dead, failed], positions=batch.positions)
        await self._write(generation, rest, isolation.TRIES, stop)


async def _main(settings: ResolverSettings, stop: Stop) -> None:
    log.info("starting", topic=settings.topic, group=settings.consumer_group)
    database = Database(settings.database_url.get_secret_value(), "resolver")
    positions = Database(settings.database_url.get_secret_value(), "resolver positions")
    producer = kafka.producer(
        settings, "resolver", timeout=10, largest=settings.dead_topic_max_record
    )
    traces = tracing.start_tracing(settings, "resolver")
    consumer = AIOKafkaConsumer(
        **kafka.connection(settings, "resolver"),
        group_id=settings.consumer_group,
        group_instance_id=settings.resolver_instance,
        session_timeout_ms=int(settings.resolver_session_timeout * 1000),
        heartbeat_interval_ms=int(settings.resolver_session_timeout * 300),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        # A write waits for Postgres as long as it is away: heartbeats say that this member lives.
        max_poll_interval_ms=24 * 3600 * 1000,
        fetch_max_bytes=16 << 20,
        max_partition_fetch_bytes=settings.topic_max_record,
    )
    # Each blames what it is named after; what nobody has tried to reach yet is not blamed.
    checks: dict[str, Check] = {"postgres": lambda: database.failure or positions.failure}
    ops = ops_server(settings.ops_host, settings.resolver_metrics_port, metrics.RESOLVER, checks)
    serving = asyncio.create_task(ops.serve())
    try:
        for one in (database, positions):
            await one.transact(migrations.check, stop)
        checks["kafka"] = lambda: "not connected yet"
        if not await kafka.start(producer, stop):
            return
        cluster = await kafka.wait_for_cluster_id(settings, stop)
        offsets = Offsets(settings.consumer_group, cluster)
        writer = Writer(offsets, settings.guid_version, settings.resolver_move)
        group = Group(consumer, offsets, positions, stop, settings.resolver_silence)
        dead_letters = DeadLetters(producer, settings.dead_topic, settings.resolver_dead_limit)
        resolver = Resolver(settings, consumer, group, writer, database, dead_letters, traces)
        checks |= {
            "kafka": group.kafka,
            "stalled": resolver.stalled,
            "halted": lambda: resolver.halted,
        }
        consumer.subscribe([settings.topic], listener=group)
        if await kafka.start(consumer, stop):
            await resolver.run(stop)
        if group.failure:
            raise group.failure
    finally:
        await consumer.stop()
        await producer.stop()
        await positions.close()
        await database.close()
        if traces:
            await asyncio.to_thread(traces.close)
        ops.should_exit = True
        await serving
        log.info("stopped")


def main() -> None:
    """Run the resolver until a signal."""
    settings = ResolverSettings.read()
    logs.configure(settings, "resolver")
    lifecycle.run(lambda stop: _main(settings, stop))
