"""A consumer that polls nothing while lag rises is not ready, however alive it looks."""

from aiokafka import TopicPartition

from resolver.stall_detector import Silence
from tests.support import starving
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
LONGEST = 60
SILENT = "merganser_resolver_silent_seconds"


def assigned(*partitions: TopicPartition) -> Silence:
    silence = Silence()
    silence.revoked(0)
    silence.assigned(partitions, 0)
    return silence


def test_nothing_waits() -> None:
    silence = assigned(P0, P1)
    for now in range(1, 1000):
        silence.lagging({P0: 0, P1: 0}, now)
    assert silence.seconds(1000) == 1
    assert silence.complaint(1000, LONGEST) is None


def test_records_wait_and_are_resolved() -> None:
    silence = assigned(P0)
    for now in range(1, 1000, 50):
        silence.lagging({P0: 10_000}, now)
        silence.wrote([P0], now)
    assert silence.complaint(1000, LONGEST) is None


def test_records_wait_and_none_is_resolved() -> None:
    """The fetcher is stuck, or the write: Kafka answers all the same."""
    silence = assigned(P0)
    for now in range(1, 100):
        silence.lagging({P0: now}, now)
    assert silence.complaint(60, LONGEST) is None
    assert silence.complaint(100, LONGEST) == (
        "partition 0: 99 records wait, and none was resolved for 100 s"
    )


def test_one_partition_is_silent_while_the_other_goes_on() -> None:
    silence = assigned(P0, P1)
    for now in range(1, 100):
        silence.lagging({P0: 5, P1: 5}, now)
        silence.wrote([P0], now)
    assert "partition 1: 5 records wait" in str(silence.complaint(100, LONGEST))
    assert silence.seconds(100) == 100


def test_a_partition_that_was_never_sought() -> None:
    """Nothing is known of it: Kafka is asked about the others only."""
    silence = assigned(P0, P1)
    for now in range(1, 100):
        silence.lagging({P0: 0}, now)
    assert "partition 1: it is not known" in str(silence.complaint(100, LONGEST))


def test_kafka_says_no_more_how_many_wait() -> None:
    silence = assigned(P0)
    silence.lagging({P0: 0}, 10)
    assert silence.complaint(70, LONGEST) is None
    assert "it is not known" in str(silence.complaint(71, LONGEST))


def test_no_partitions_are_no_silence() -> None:
    """More resolvers than partitions: one that waits to take over is ready."""
    silence = assigned()
    assert silence.seconds(1000) == 0
    assert silence.complaint(1000, LONGEST) is None


def test_a_rebalance_that_does_not_end() -> None:
    silence = assigned(P0)
    silence.revoked(100)
    assert silence.complaint(160, LONGEST) is None
    assert "rebalance" in str(silence.complaint(161, LONGEST))
    silence.assigned([P0], 170)
    assert silence.complaint(170, LONGEST) is None


def test_what_is_written_late_for_a_partition_that_left_changes_nothing() -> None:
    silence = assigned(P0)
    silence.wrote([P1], 50)
    silence.lagging({P1: 7}, 50)
    assert silence.seconds(100) == 100


def test_what_something_else_explains_is_no_silence() -> None:
    silence = assigned(P0)
    for now in range(1, 300):
        silence.lagging({P0: 5}, now)
        silence.excused(now)
    assert silence.complaint(300, LONGEST) is None
    assert silence.complaint(299 + LONGEST, LONGEST) is None
    assert "partition 0" in str(silence.complaint(300 + LONGEST, LONGEST))
    silence.revoked(400)
    silence.excused(500)
    assert silence.complaint(500 + LONGEST, LONGEST) is None


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
