"""A consumer that polls nothing while lag rises is not ready, however alive it looks."""

from aiokafka import TopicPartition

from resolver.stall_detector import StallDetector
from tests.support import starving
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
LONGEST = 60
SILENT = "merganser_resolver_silent_seconds"


def assigned(*partitions: TopicPartition) -> StallDetector:
    stalls = StallDetector()
    stalls.start_rebalance(0)
    stalls.assign(partitions, 0)
    return stalls


def test_nothing_waits() -> None:
    stalls = assigned(P0, P1)
    for now in range(1, 1000):
        stalls.note_lag({P0: 0, P1: 0}, now)
    assert stalls.seconds_without_progress(1000) == 1
    assert stalls.describe_stall(1000, LONGEST) is None


def test_records_wait_and_are_resolved() -> None:
    stalls = assigned(P0)
    for now in range(1, 1000, 50):
        stalls.note_lag({P0: 10_000}, now)
        stalls.note_progress([P0], now)
    assert stalls.describe_stall(1000, LONGEST) is None


def test_records_wait_and_none_is_resolved() -> None:
    """The fetcher is stuck, or the write: Kafka answers all the same."""
    stalls = assigned(P0)
    for now in range(1, 100):
        stalls.note_lag({P0: now}, now)
    assert stalls.describe_stall(60, LONGEST) is None
    assert stalls.describe_stall(100, LONGEST) == (
        "partition 0: 99 records wait, and none was resolved for 100 s"
    )


def test_one_partition_is_silent_while_the_other_goes_on() -> None:
    stalls = assigned(P0, P1)
    for now in range(1, 100):
        stalls.note_lag({P0: 5, P1: 5}, now)
        stalls.note_progress([P0], now)
    assert "partition 1: 5 records wait" in str(stalls.describe_stall(100, LONGEST))
    assert stalls.seconds_without_progress(100) == 100


def test_a_partition_that_was_never_sought() -> None:
    """Nothing is known of it: Kafka is asked about the others only."""
    stalls = assigned(P0, P1)
    for now in range(1, 100):
        stalls.note_lag({P0: 0}, now)
    assert "partition 1: the lag is unknown" in str(stalls.describe_stall(100, LONGEST))


def test_kafka_says_no_more_how_many_wait() -> None:
    stalls = assigned(P0)
    stalls.note_lag({P0: 0}, 10)
    assert stalls.describe_stall(70, LONGEST) is None
    assert "the lag is unknown" in str(stalls.describe_stall(71, LONGEST))


def test_a_resolver_without_partitions_has_no_stall() -> None:
    """More resolvers than partitions: one that waits to take over is ready."""
    stalls = assigned()
    assert stalls.seconds_without_progress(1000) == 0
    assert stalls.describe_stall(1000, LONGEST) is None


def test_a_rebalance_that_does_not_end() -> None:
    stalls = assigned(P0)
    stalls.start_rebalance(100)
    assert stalls.describe_stall(160, LONGEST) is None
    assert "rebalance" in str(stalls.describe_stall(161, LONGEST))
    stalls.assign([P0], 170)
    assert stalls.describe_stall(170, LONGEST) is None


def test_what_is_written_late_for_a_partition_that_left_changes_nothing() -> None:
    stalls = assigned(P0)
    stalls.note_progress([P1], 50)
    stalls.note_lag({P1: 7}, 50)
    assert stalls.seconds_without_progress(100) == 100


def test_what_something_else_explains_is_no_stall() -> None:
    stalls = assigned(P0)
    for now in range(1, 300):
        stalls.note_lag({P0: 5}, now)
        stalls.restart_clocks(now)
    assert stalls.describe_stall(300, LONGEST) is None
    assert stalls.describe_stall(299 + LONGEST, LONGEST) is None
    assert "partition 0" in str(stalls.describe_stall(300 + LONGEST, LONGEST))
    stalls.start_rebalance(400)
    stalls.restart_clocks(500)
    assert stalls.describe_stall(500 + LONGEST, LONGEST) is None


async def test_a_resolver_that_gets_no_records_while_its_group_is_well(system: System) -> None:
    bootstrap = system.env["MERGANSER_KAFKA_BOOTSTRAP"]
    async with starving.before(bootstrap) as (network, address):
        resolver = await system.resolver(kafka_bootstrap=address, resolver_silence=2)
        await system.events.publish_events([event(user="1")])
        await eventually(lambda: system.database.count("events"), equals(1))
        await eventually(resolver.why_not_ready, equals({}))

        network.starving = True
        await system.events.publish_events([event(user="2")])
        reasons = await eventually(resolver.why_not_ready)
        assert "1 records wait, and none was resolved for" in reasons["stalled"]
        assert set(reasons) == {"stalled"}
        assert await resolver.metric(SILENT) > 2
        assert (await resolver.metrics()).total("merganser_resolver_lag_records") == 1
        assert await system.database.count("events") == 1

        network.starving = False
        await eventually(resolver.why_not_ready, equals({}))
        assert await system.database.count("events") == 2
        assert await resolver.metric(SILENT) < 2
