"""Several resolvers share the partitions, and the work of one that is gone."""

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


async def lags(resolver: Service) -> int:
    """How many partitions a resolver has."""
    families = (await resolver.metrics()).families
    return sum(len(f.samples) for f in families if f.name == "merganser_resolver_lag_records")


async def sharing(*resolvers: Service) -> None:
    """Wait until each has its part of the partitions, by their own account."""
    for resolver in resolvers:
        await eventually(
            lambda r=resolver: lags(r),  # type: ignore[misc]
            lambda partitions: 0 < partitions < 4,
            what="each has some partitions",
        )


async def test_two_share_a_backlog_and_each_event_is_resolved_once(system: System) -> None:
    resolvers = await asyncio.gather(
        *(system.resolver(resolver_batch=20, resolver_move=5) for _ in range(2))
    )
    await system.scanner(scanner_move=5)
    await sharing(*resolvers)
    backlog = await Backlog.published(system, 4000)
    await backlog.resolved_once()
    consumed = "merganser_resolver_records_consumed_total"
    shares = [await resolver.metric(consumed) for resolver in resolvers]
    assert all(shares)
    assert sum(shares) == len(backlog.events)


async def test_one_that_joins_amid_a_backlog_gets_its_part(system: System) -> None:
    backlog = await Backlog.published(system, 6000)
    first = await system.resolver(resolver_batch=10)
    await backlog.in_the_middle()
    second = await system.resolver(resolver_batch=10)
    await sharing(first, second)
    await backlog.resolved_once()


async def test_the_survivor_of_a_killed_one_finishes(system: System) -> None:
    dying, survivor = await asyncio.gather(
        *(system.resolver(resolver_batch=10, resolver_session_timeout=6) for _ in range(2))
    )
    await sharing(dying, survivor)
    backlog = await Backlog.published(system, 4000)
    await backlog.in_the_middle()
    await dying.kill()
    await backlog.resolved_once()
    assert survivor.running


async def test_more_resolvers_than_partitions(system: System) -> None:
    """The one with nothing to do is ready, and takes over."""
    resolvers = await asyncio.gather(*(system.resolver() for _ in range(5)))
    await system.events.publish_events(event(user=f"u{n}") for n in range(100))
    await eventually(lambda: system.database.count("events"), lambda count: count == 100)
    for resolver in resolvers:
        assert resolver.running
        assert await resolver.why_not_ready() == {}


async def test_one_that_was_suspended_and_replaced_writes_nothing_twice(system: System) -> None:
    """Its batch in hand belongs to its successor by then: the positions fence it."""
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
    await eventually(lambda: lags(frozen), lambda partitions: partitions > 0, what="it is back")
    assert frozen.running


async def freeze_between_transactions(system: System, resolver: Service) -> bool:
    """Suspend a resolver; False, and it goes on, if it holds locks that others would wait for."""
    resolver.send(signal.SIGSTOP)
    await eventually(lambda: psutil.Process(resolver.pid).status() == psutil.STATUS_STOPPED)
    busy = await system.database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'merganser resolver%' AND state <> 'idle'"
    )
    if busy:
        resolver.send(signal.SIGCONT)
    return not busy
