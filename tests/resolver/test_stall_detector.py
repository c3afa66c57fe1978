"""A resolver that makes no progress while records wait is not ready."""

from aiokafka import TopicPartition

from resolver.stall_detector import StallDetector
from tests.support import starving
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
MAX_SECONDS = 60
METRIC = "merganser_resolver_silent_seconds"


def detector_of(*partitions: TopicPartition) -> StallDetector:
    detector = StallDetector()
    detector.start_rebalance(0)
    detector.assign(partitions, 0)
    return detector


def test_no_records_wait() -> None:
    detector = detector_of(P0, P1)
    for now in range(1, 1000):
        detector.note_lag({P0: 0, P1: 0}, now)
    assert detector.seconds_without_progress(1000) == 1
    assert detector.describe_stall(1000, MAX_SECONDS) is None


def test_waiting_records_are_resolved() -> None:
    detector = detector_of(P0)
    for now in range(1, 1000, 50):
        detector.note_lag({P0: 10_000}, now)
        detector.note_progress([P0], now)
    assert detector.describe_stall(1000, MAX_SECONDS) is None


def test_waiting_records_are_not_resolved() -> None:
    """The fetcher or the write is stuck, while Kafka answers."""
    detector = detector_of(P0)
    for now in range(1, 100):
        detector.note_lag({P0: now}, now)
    assert detector.describe_stall(60, MAX_SECONDS) is None
    assert detector.describe_stall(100, MAX_SECONDS) == (
        "partition 0: 99 records wait, and none was resolved for 100 s"
    )


def test_one_of_two_partitions_makes_no_progress() -> None:
    detector = detector_of(P0, P1)
    for now in range(1, 100):
        detector.note_lag({P0: 5, P1: 5}, now)
        detector.note_progress([P0], now)
    assert "partition 1: 5 records wait" in str(detector.describe_stall(100, MAX_SECONDS))
    assert detector.seconds_without_progress(100) == 100


def test_a_partition_without_an_offset() -> None:
    """Its lag is unknown: the resolver reads only the lag of the others."""
    detector = detector_of(P0, P1)
    for now in range(1, 100):
        detector.note_lag({P0: 0}, now)
    assert "partition 1: the lag is unknown" in str(detector.describe_stall(100, MAX_SECONDS))


def test_kafka_stops_reporting_lag() -> None:
    detector = detector_of(P0)
    detector.note_lag({P0: 0}, 10)
    assert detector.describe_stall(70, MAX_SECONDS) is None
    assert "the lag is unknown" in str(detector.describe_stall(71, MAX_SECONDS))


def test_a_resolver_without_partitions_has_no_stall() -> None:
    """If there are more resolvers than partitions, the spare ones are ready."""
    detector = detector_of()
    assert detector.seconds_without_progress(1000) == 0
    assert detector.describe_stall(1000, MAX_SECONDS) is None


def test_a_rebalance_that_does_not_finish() -> None:
    detector = detector_of(P0)
    detector.start_rebalance(100)
    assert detector.describe_stall(160, MAX_SECONDS) is None
    assert "rebalance" in str(detector.describe_stall(161, MAX_SECONDS))
    detector.assign([P0], 170)
    assert detector.describe_stall(170, MAX_SECONDS) is None


def test_progress_of_a_revoked_partition_changes_nothing() -> None:
    detector = detector_of(P0)
    detector.note_progress([P1], 50)
    detector.note_lag({P1: 7}, 50)
    assert detector.seconds_without_progress(100) == 100


def test_restarted_clocks_hide_a_stall() -> None:
    detector = detector_of(P0)
    for now in range(1, 300):
        detector.note_lag({P0: 5}, now)
        detector.restart_clocks(now)
    assert detector.describe_stall(300, MAX_SECONDS) is None
    assert detector.describe_stall(299 + MAX_SECONDS, MAX_SECONDS) is None
    assert "partition 0" in str(detector.describe_stall(300 + MAX_SECONDS, MAX_SECONDS))
    detector.start_rebalance(400)
    detector.restart_clocks(500)
    assert detector.describe_stall(500 + MAX_SECONDS, MAX_SECONDS) is None


async def test_a_resolver_that_fetches_no_records_while_its_group_is_stable(system: System) -> None:
    bootstrap = system.env["MERGANSER_KAFKA_BOOTSTRAP"]
    async with starving.run(bootstrap) as (network, address):
        resolver = await system.resolver(kafka_bootstrap=address, resolver_silence=2)
        await system.events.publish_events([event(user="1")])
        await eventually(lambda: system.database.count("events"), equals(1))
        await eventually(resolver.why_not_ready, equals({}))

        network.starving = True
        await system.events.publish_events([event(user="2")])
        reasons = await eventually(resolver.why_not_ready)
        assert "1 records wait, and none was resolved for" in reasons["stalled"]
        assert set(reasons) == {"stalled"}
        assert await resolver.metric(METRIC) > 2
        assert (await resolver.metrics()).total("merganser_resolver_lag_records") == 1
        assert await system.database.count("events") == 1

        network.starving = False
        await eventually(resolver.why_not_ready, equals({}))
        assert await system.database.count("events") == 2
        assert await resolver.metric(METRIC) < 2
