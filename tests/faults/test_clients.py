"""Clients that hang up, and a consumer that is slow."""

import pytest

from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.support import proxy
from tests.support.system import System

pytestmark = pytest.mark.faults


async def test_clients_hang_up_during_a_request(system: System) -> None:
    """Before the body is complete or before the answer; they send it again, to any gateway."""
    gateways = [await system.ingest(), await system.ingest()]
    await system.resolver()
    urls = [gateway.url for gateway in gateways]
    async with Load(urls, gateways[0].key, hang_up=0.6) as load:
        await load.wait_for(more=2000)
    await verify(system, load.ledger)
    # ingest had accepted some of the requests whose clients hung up.
    assert await system.events.size() > len(load.ledger)


async def test_a_consumer_is_far_slower_than_the_events(system: System) -> None:
    """The topic keeps the backlog; clients are not delayed, and all events are stored."""
    gateway = await system.ingest()
    async with proxy.run(system.database.url) as (network, url):
        network.delay = 0.2
        await system.resolver(database_url=url, resolver_batch=5)
        async with Load([gateway.url], gateway.key) as load:
            await load.wait_for(more=1500)
        assert load.ledger.failures == set()
        assert await system.database.count("events") < len(load.ledger) / 2
        network.restore_speed()
        await verify(system, load.ledger)
