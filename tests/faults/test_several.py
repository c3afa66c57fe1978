"""Several resolvers share the partitions, and take over those of one that is gone."""

import asyncio
import signal

import psutil
import pytest

from tests.resolver.backlog import Backlog
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults


async def count_partitions(resolver: Service) -> int:
    """Return the number of partitions of a resolver."""
    families = (await resolver.metrics()).families
    return sum(len(f.samples) for f in families if f.name == "merganser_resolver_lag_records")


async def wait_until_shared(*resolvers: Service) -> None:
    """Wait until each resolver has some of the partitions, according to its metrics."""
    for resolver in resolvers:
        await eventually(
            lambda r=resolver: count_partitions(r),  # type: ignore[misc]
            lambda partitions: 0 < partitions < 4,
            what="each has some partitions",
        )


async def test_two_share_a_backlog_and_each_event_is_resolved_once(system: System) -> None:
    resolvers = await asyncio.gather(
        *(system.resolver(resolver_batch=20, resolver_move=5) for _ in range(2))
    )
    await system.scanner(scanner_move=5)
    await wait_until_shared(*resolvers)
    backlog = await Backlog.published(system, 4000)
    await backlog.resolved_once()
    consumed = "merganser_resolver_records_consumed_total"
    shares = [await resolver.metric(consumed) for resolver in resolvers]
    assert all(shares)
    assert sum(shares) == len(backlog.events)


async def test_a_resolver_that_joins_during_a_backlog_gets_partitions(system: System) -> None:
    backlog = await Backlog.published(system, 6000)
    first = await system.resolver(resolver_batch=10)
    await backlog.in_the_middle()
    second = await system.resolver(resolver_batch=10)
    await wait_until_shared(first, second)
    await backlog.resolved_once()


async def test_another_resolver_takes_over_after_a_kill(system: System) -> None:
    killed, other = await asyncio.gather(
        *(system.resolver(resolver_batch=10, resolver_session_timeout=6) for _ in range(2))
    )
    await wait_until_shared(killed, other)
    backlog = await Backlog.published(system, 4000)
    await backlog.in_the_middle()
    await killed.kill()
    await backlog.resolved_once()
    assert other.running


async def test_more_resolvers_than_partitions(system: System) -> None:
    """The one without partitions is ready."""
    resolvers = await asyncio.gather(*(system.resolver() for _ in range(5)))
    await system.events.publish_events(event(user=f"u{n}") for n in range(100))
    await eventually(lambda: system.database.count("events"), lambda count: count == 100)
    for resolver in resolvers:
        assert resolver.running
        assert await resolver.why_not_ready() == {}


async def test_a_resolver_that_was_suspended_and_replaced_writes_nothing_twice(
    system: System,
) -> None:
    """Another resolver has written its batch by then: the stored offsets reject it."""
    backlog = await Backlog.published(system, 4000)
    frozen = await system.resolver(resolver_batch=10, resolver_session_timeout=6)
    await backlog.in_the_middle()
    await eventually(lambda: freeze_between_transactions(system, frozen))
    await system.resolver()
    await backlog.resolved_once()

    frozen.send(signal.SIGCONT)
    await eventually(lambda: frozen.metric("merganser_resolver_batches_fenced_total"))
    backlog.events.append(event(user="1", kind="late", number="late"))
    await system.events.publish_events(backlog.events[-1:])
    await backlog.resolved_once()
    await eventually(
        lambda: count_partitions(frozen), lambda partitions: partitions > 0, what="it is back"
    )
    assert frozen.running


async def freeze_between_transactions(system: System, resolver: Service) -> bool:
    """Suspend a resolver; if it is in a transaction, let it continue and return False."""
    resolver.send(signal.SIGSTOP)
    await eventually(lambda: psutil.Process(resolver.pid).status() == psutil.STATUS_STOPPED)
    busy = await system.database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'merganser resolver%' AND state <> 'idle'"
    )
    if busy:
        resolver.send(signal.SIGCONT)
    return not busy
