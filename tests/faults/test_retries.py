"""Clients that send each event twice: it is stored once, also with restarts and rebalances."""

import pytest

from tests.chaos.comparison import verify
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.support.system import System

pytestmark = pytest.mark.faults


async def test_sent_twice_at_once_during_restarts_and_rebalances(system: System) -> None:
    """Two loads of the same events, each to its own gateway: their answers have the same guids."""
    one, other = [await system.ingest(), await system.ingest()]
    resolvers = [await system.resolver(resolver_batch=20) for _ in range(2)]
    ledger = Ledger()
    async with (
        Load([one.url], one.key, ledger=ledger) as first,
        Load([other.url], other.key, ledger=ledger) as second,
    ):
        for victim in (one, resolvers[0], other, resolvers[1]):
            await first.wait_for(more=200)
            assert await victim.stop() == 0
            victim.start()
        await second.wait_for(more=200)
    await verify(system, ledger)
    assert await system.events.size() > 1.5 * len(ledger), "it was not sent twice"


async def test_sent_again_after_all_was_stored_and_all_processes_were_restarted(
    system: System,
) -> None:
    services = [gateway := await system.ingest(), await system.resolver()]
    async with Load([gateway.url], gateway.key) as load:
        await load.wait_for(more=300)
    await verify(system, load.ledger)
    for service in services:
        assert await service.stop() == 0
        service.start()
        await service.ready()
    async with Load([gateway.url], gateway.key, ledger=load.ledger) as again:
        await again.wait_for(more=300)
    await verify(system, again.ledger)
