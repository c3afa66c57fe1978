"""SIGKILL of each of our processes at random moments, under load."""

import asyncio
from random import Random

import pytest

from merganser.rulebook import rule_store
from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.chaos.rules import RULES
from tests.support.system import System

pytestmark = pytest.mark.faults

KILLS = 4


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner", "properties"])
async def test_killed_repeatedly(system: System, kind: str) -> None:
    random = Random(kind)
    await rule_store.apply_file(system.database.connection, RULES)
    gateways = [await system.ingest(), await system.ingest()]
    await system.resolver(resolver_session_timeout=6, resolver_batch=50)
    await system.scanner(scanner_batch=10)
    await system.properties(properties_batch=50)
    victims = [service for service in system.services if service.kind == kind]
    urls = [gateway.url for gateway in gateways]
    async with Load(urls, gateways[0].key, rows_url=system.database.url) as load:
        for _ in range(KILLS):
            await load.wait_for(more=200)
            await asyncio.sleep(random.uniform(0, 0.5))
            victim = random.choice(victims)
            await victim.kill()
            await asyncio.sleep(random.uniform(0, 0.5))
            victim.start()
        await load.wait_for(more=200)
    await verify(system, load.ledger)
    assert kind == "ingest" or load.ledger.failures == set(), "clients depend on ingest only"
