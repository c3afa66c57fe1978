"""Each event is resolved exactly once, despite restarts, kills and lost connections."""

import signal
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer

from tests.resolver.backlog import Backlog
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.topics import record_of
from tests.support.waiting import equals, eventually

SMALL = {"resolver_batch": 20}
"""Many transactions, so that a test can interrupt between them."""


async def test_an_event_delivered_twice_is_one_row(system: System) -> None:
    """Repeated in one batch, and again after it is stored."""
    one, other = event(user="1", k="v"), event(user="2", k="v")
    resolver = await system.resolver()
    await system.events.publish_events([one, one, other])
    await eventually(lambda: system.database.count("events"), equals(2))
    await system.events.publish_events([one, other, event(user="3", k="v")])
    await eventually(lambda: system.database.count("events"), equals(3))
    assert await system.database.count("eventData") == 3
    repeated = "merganser_resolver_events_repeated_total"
    assert await eventually(lambda: resolver.metric(repeated), equals(3)) == 3


async def test_twice_in_two_partitions_is_one_row_too(system: System) -> None:
    one = record_of(event(user="1", k="v"))
    copies = [one._replace(partition=partition) for partition in range(4)]
    await system.events.publish(*copies)
    resolver = await system.resolver()
    consumed = "merganser_resolver_records_consumed_total"
    await eventually(lambda: resolver.metric(consumed), equals(4))
    assert await system.database.count("events") == 1


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_records_are_read_however_they_are_compressed(system: System, codec: str) -> None:
    """Other writers choose the codec, and so may the topic."""
    await system.events.configure("compression.type", codec)
    await system.events.publish_events([event("1"), event("2")])
    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(2))


async def test_markers_of_transactions_do_not_count_as_lag(system: System) -> None:
    """A writer's transaction ends with a marker, which takes an offset but is not a record."""
    record = record_of(event("1"))
    async with AIOKafkaProducer(
        bootstrap_servers=system.events.bootstrap, transactional_id=system.events.name
    ) as producer:
        for _ in range(2):
            async with producer.transaction():
                await producer.send(
                    system.events.name, record.value, headers=list(record.headers.items())
                )
    for _ in range(2):  # the second resolver reads nothing but the marker
        resolver = await system.resolver()
        await eventually(lambda: system.database.count("events"), equals(1))
        await eventually(partial(_lags, resolver), equals([0] * 4))
        assert await resolver.stop() == 0


async def test_a_restart_continues_at_the_committed_offset(system: System) -> None:
    backlog = await Backlog.published(system, 500)
    first = await system.resolver()
    await backlog.resolved_once()
    assert await first.stop() == 0

    backlog.events.append(event(user="1", kind="late", number="500"))
    await system.events.publish_events(backlog.events[-1:])
    second = await system.resolver()
    await backlog.resolved_once()
    assert await second.metric("merganser_resolver_records_consumed_total") == 1
    assert await second.metric("merganser_resolver_events_repeated_total") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_stopped_during_a_backlog(system: System, number: signal.Signals) -> None:
    backlog = await Backlog.published(system, 4000)
    first = await system.resolver(**SMALL)
    await backlog.in_the_middle()
    first.send(number)
    assert await first.ended(within=10) == 0
    assert await system.database.count("events") < len(backlog.events), "make it larger"
    await system.resolver()
    await backlog.resolved_once()


async def test_killed_during_a_backlog(system: System) -> None:
    backlog = await Backlog.published(system, 4000)
    # A static member, so that Kafka gives it the partitions at once after a restart.
    resolver = await system.resolver(**SMALL, resolver_instance="only")
    for _ in range(3):
        await backlog.in_the_middle()
        await resolver.kill()
        resolver.start()
        await resolver.ready()
    await backlog.resolved_once()


async def test_connections_to_postgres_are_terminated_repeatedly(system: System) -> None:
    backlog = await Backlog.published(system, 4000)
    resolver = await system.resolver(**SMALL)
    for _ in range(5):
        await backlog.in_the_middle()
        before = await system.database.count("events")
        await system.database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await eventually(lambda b=before: _more_than(system, b))  # type: ignore[misc]
    await backlog.resolved_once()
    assert resolver.running
    assert await eventually(resolver.why_not_ready, equals({})) == {}


async def _more_than(system: System, count: int) -> bool:
    return await system.database.count("events") > count


async def _lags(resolver: Service) -> list[float]:
    name = "merganser_resolver_lag_records"
    families = (await resolver.metrics()).families
    return [s.value for family in families if family.name == name for s in family.samples]
