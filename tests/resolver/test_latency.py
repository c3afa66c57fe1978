"""Which waits the latency metric counts: lag and outages, but not backfills and replays."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from resolver.latency import CAUGHT_UP_SECONDS, LatencyTracker
from schemas.event import Event
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.topics import record_of
from tests.support.waiting import equals, eventually

P0 = TopicPartition("t", 0)
METRIC = "merganser_resolver_accepted_to_resolved_seconds"
DAY = 86_400


@dataclass
class TimedRecord:
    timestamp: int
    topic: str = "t"
    partition: int = 0


def at(*seconds: float) -> list[TimedRecord]:
    return [TimedRecord(int(second * 1000)) for second in seconds]


def tracker_of(moved_at: float = 0, *, catches_up: bool = False) -> LatencyTracker:
    latency = LatencyTracker()
    latency.start_reading(P0, moved_at, catches_up=catches_up)
    return latency


def test_the_longest_wait_of_a_batch_counts() -> None:
    assert tracker_of().measure(at(90, 95, 99), now=100) == 10
    assert tracker_of().measure([], now=100) is None


def test_a_broker_whose_clock_is_ahead_gives_no_negative_wait() -> None:
    assert tracker_of().measure(at(105), now=100) == 0


def test_lag_counts() -> None:
    latency = tracker_of()
    for now in range(1000, 2000, 100):
        assert latency.measure(at(now - 900), now) == 900


def test_an_outage_of_the_resolvers_counts() -> None:
    """Records that arrived after the last commit of an offset have waited for a resolver."""
    assert tracker_of(moved_at=1000).measure(at(1001, 4000), now=5000) == 3999


def test_records_from_before_the_last_offset_commit_do_not_count() -> None:
    latency = tracker_of(moved_at=1000)
    assert latency.measure(at(10, 999), now=1010) is None
    assert latency.measure(at(999, 1004), now=1010) == 6


def test_the_first_read_of_a_topic_counts_once_it_has_caught_up() -> None:
    latency = tracker_of(moved_at=1000, catches_up=True)
    assert latency.measure(at(10, 20, 900), now=1001) is None
    # These arrived meanwhile, and waited behind the old ones.
    assert latency.measure(at(1001, 1030), now=1100) is None
    assert latency.measure(at(1092, 1096), now=1100) == 8
    assert latency.measure(at(1101), now=1200) == 99


def test_a_replay_counts_once_it_has_caught_up() -> None:
    latency = tracker_of(moved_at=1000)
    assert latency.measure(at(1001), now=1002) == 1
    latency.start_reading(P0, 2000, catches_up=True)
    assert latency.measure(at(10, 1001, 2100), now=2100 + CAUGHT_UP_SECONDS + 1) is None
    assert latency.measure(at(2200), now=2201) == 1


async def test_the_times_in_an_event_do_not_matter(system: System) -> None:
    """Such as in a backfill, or from a gateway whose clock is wrong."""
    resolver = await system.resolver()
    await publish_and_wait(system, event(user="1"))
    old: Event = {**event(user="2"), "createdAt": datetime(2019, 1, 1, tzinfo=UTC)}
    await publish_and_wait(system, old)
    count, seconds = await read_metric(resolver)
    assert count == 2
    assert seconds < 600


async def test_the_first_read_of_an_old_topic_does_not_count(system: System) -> None:
    await publish_with_time(system, time.time() - DAY, "1", "2")
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(2))
    assert await read_metric(resolver) == (0, 0)
    await publish_with_time(system, time.time(), "3")
    await eventually(lambda: read_metric(resolver), lambda found: found[0] == 1)


async def test_a_replay_does_not_count(system: System) -> None:
    """Old records restore pruned rows."""
    await publish_with_time(system, time.time() - DAY, "1")
    resolver = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(1))
    await publish_with_time(system, time.time(), "2")
    await eventually(lambda: read_metric(resolver), lambda found: found[0] == 1)
    await system.database.execute("SET merganser.remember_deleted_since = 'infinity'")
    await system.database.execute("DELETE FROM events")
    await system.cli("replay", "--from", "start", "--yes")
    await eventually(lambda: system.database.count("events"), equals(2))
    count, seconds = await read_metric(resolver)
    assert count <= 2  # the newer of the two is not a backlog
    assert seconds < 600


async def test_records_that_wait_while_no_resolver_runs_count(system: System) -> None:
    first = await system.resolver()
    await publish_and_wait(system, event(user="1"))
    assert await first.stop() == 0
    await system.events.publish_events([event(user="2")])
    await asyncio.sleep(3)
    second = await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(2))
    count, seconds = await eventually(lambda: read_metric(second), lambda found: found[0] == 1)
    assert count == 1
    assert seconds > 3


async def publish_and_wait(system: System, published: Event) -> None:
    before = await system.database.count("events")
    await system.events.publish_events([published])
    await eventually(lambda: system.database.count("events"), equals(before + 1))


async def read_metric(resolver: Service) -> tuple[float, float]:
    """Return how many waits counted, and their sum in seconds."""
    found = await resolver.metrics()
    return found.value(f"{METRIC}_count"), found.value(f"{METRIC}_sum")


async def publish_with_time(system: System, moment: float, *users: str) -> None:
    """Publish records with this timestamp instead of the broker's time, in one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=system.events.bootstrap)
    await admin.start()
    try:
        configs = {"message.timestamp.type": "CreateTime"}
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, system.events.name, configs=configs)]
        )
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=system.events.bootstrap) as producer:
        for user in users:
            record = record_of(event(user=user))
            await producer.send_and_wait(
                system.events.name,
                record.value,
                key=record.key,
                partition=0,
                timestamp_ms=int(moment * 1000),
                headers=list(record.headers.items()),
            )
