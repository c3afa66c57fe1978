"""Starts the resolver process."""

import asyncio
from functools import partial

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from merganser.process import Process, run_process
from merganser.runtime import kafka, metrics, tracing
from merganser.runtime.settings import ResolverSettings
from merganser.workers.worker import Worker
from resolver.dead_letters import DeadLetterPublisher
from resolver.loop import Resolver
from resolver.offsets import Offsets
from resolver.partitions import AssignedPartitions
from resolver.writer import Writer

log = structlog.get_logger(__name__)


async def _run(settings: ResolverSettings, process: Process) -> None:
    log.info("starting", topic=settings.topic, group=settings.consumer_group)
    traces = tracing.start_tracing(settings, "resolver")
    if traces:
        process.close_at_exit(partial(asyncio.to_thread, traces.close))
    database = process.open_database("resolver")
    offsets_database = process.open_database("resolver offsets")
    producer = kafka.producer(
        settings, "resolver", timeout=10, largest=settings.dead_topic_max_record
    )
    process.close_at_exit(producer.stop)
    consumer = _consumer(settings, process.worker)
    process.close_at_exit(consumer.stop)

    # Until this process has tried to reach Kafka, only Postgres can be the reason.
    process.checks["postgres"] = lambda: database.failure or offsets_database.failure
    await process.check_schema()
    process.checks["kafka"] = lambda: "not connected yet"
    if not await kafka.start(producer, process.stop):
        return
    cluster = await kafka.wait_for_cluster_id(settings, process.stop)
    offsets = Offsets(settings.consumer_group, cluster)
    partitions = AssignedPartitions(
        consumer, offsets, offsets_database, process.stop, settings.resolver_silence
    )
    resolver = Resolver(
        settings,
        consumer,
        partitions,
        Writer(offsets, settings.guid_version, settings.resolver_move, settings.nobody_ids),
        database,
        DeadLetterPublisher(producer, settings.dead_topic, settings.resolver_dead_limit),
        traces,
    )
    process.checks |= {
        "kafka": partitions.describe_kafka_failure,
        "stalled": resolver.describe_stall,
        "halted": lambda: resolver.halted,
    }
    consumer.subscribe([settings.topic], listener=partitions)
    if await kafka.start(consumer, process.stop):
        await resolver.run(process.stop)
    if partitions.failure:
        raise partitions.failure


def _consumer(settings: ResolverSettings, worker: Worker | None) -> AIOKafkaConsumer:
    instance = settings.resolver_instance
    if instance and worker:  # each worker is a separate member
        instance = f"{instance}-{worker.number}"
    return AIOKafkaConsumer(
        **kafka.connection(settings, "resolver"),
        group_id=settings.consumer_group,
        group_instance_id=instance,
        session_timeout_ms=int(settings.resolver_session_timeout * 1000),
        heartbeat_interval_ms=int(settings.resolver_session_timeout * 300),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        # A write waits for Postgres for as long as it is away; the heartbeats keep the member.
        max_poll_interval_ms=24 * 3600 * 1000,
        # Enough for several batches; a fetch needs three times as much memory.
        fetch_max_bytes=2 << 20,
        # A fetch from partitions that are read to their ends holds up those of the others.
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=settings.topic_max_record,
    )


def main() -> None:
    """Run the resolver until a signal."""
    settings = ResolverSettings.read()
    run_process(
        "resolver",
        settings,
        settings.resolver_metrics_port,
        metrics.RESOLVER,
        lambda process: _run(settings, process),
    )
