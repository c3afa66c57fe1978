"""The consumer group: rebalance storms, and two resolvers that both own the same partitions."""

import asyncio
import signal
from random import Random

import psycopg
import pytest

from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.support.events import event
from tests.support.system import System
from tests.support.topics import PARTITIONS
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

SESSION = 6
FENCED = "merganser_resolver_batches_fenced_total"


async def test_a_storm_of_rebalances(system: System) -> None:
    """Members join and leave faster than the group rebalances; one of them is killed."""
    random = Random(5)
    gateway = await system.ingest()
    resolvers = [
        await system.resolver(resolver_session_timeout=SESSION, resolver_batch=20) for _ in range(3)
    ]
    await system.scanner()
    async with Load([gateway.url], gateway.key) as load:
        for number in range(10):
            leaver = random.choice(resolvers)
            if number == 5:
                await leaver.kill()
            else:
                # 143 if it has not yet installed its signal handler: it has no batch.
                assert await leaver.stop() in {0, 128 + signal.SIGTERM}
            leaver.start()
            await asyncio.sleep(random.uniform(0, 1))
        await load.wait_for(more=100)
    await verify(system, load.ledger)


async def test_a_new_partition_is_read_soon(system: System) -> None:
    """Gateways write to it before resolvers know of it; the default of clients is five minutes."""
    gateway = await system.ingest()
    await system.resolver()
    async with Load([gateway.url], gateway.key) as load:
        await load.wait_for(more=100)
        await system.events.grow(to=PARTITIONS + 3)
        await eventually(system.events.ends, lambda ends: all(ends.values()), within=60)
    await verify(system, load.ledger, within=60)


async def test_a_resolver_that_is_suspended_during_a_copy_delays_no_other(system: System) -> None:
    """It has updated the offsets and its COPY waits for it; no timeout of Postgres ends that."""
    first = await system.resolver(resolver_session_timeout=SESSION)
    await system.events.publish_events([event(user="1")])
    await eventually(lambda: system.database.count("events"), equals(1))
    assert await first.stop() == 0
    suspended = await psycopg.AsyncConnection.connect(system.database.url)
    await suspended.execute('UPDATE "consumerOffsets" SET "nextOffset" = "nextOffset" + 1')
    during = suspended.cursor().copy('COPY "eventData" FROM STDIN')
    await during.__aenter__()
    await system.resolver(resolver_session_timeout=SESSION)
    with pytest.raises(psycopg.OperationalError):
        await during.__aexit__(None, None, None)
    await suspended.close()
    await system.events.publish_events([event(user="2")])
    await eventually(lambda: system.database.count("events"), equals(2))


async def test_two_resolvers_believe_that_they_own_the_same_partitions(system: System) -> None:
    """One is suspended beyond its session and continues with a batch that another has written."""
    gateway = await system.ingest()
    suspended = await system.resolver(resolver_session_timeout=SESSION, resolver_batch=20)
    other = system.new("resolver", resolver_session_timeout=SESSION, resolver_batch=20)
    async with Load([gateway.url], gateway.key, rate=600) as load:
        await load.wait_for(more=200)
        suspended.send(signal.SIGSTOP)
        other.start()
        await other.ready()
        await asyncio.sleep(2 * SESSION)
        await load.wait_for(more=200)
        suspended.send(signal.SIGCONT)
        await load.wait_for(more=400)
    await verify(system, load.ledger)
    fences = await eventually(
        lambda: asyncio.gather(suspended.metric(FENCED), other.metric(FENCED)), any, what="fenced"
    )
    assert any(fences)
