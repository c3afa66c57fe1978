"""SIGKILL of each of our processes at random moments, under load."""

import asyncio
from datetime import UTC, datetime
from random import Random

import pytest

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from properties.audit import audit
from tests.support import database
from tests.support.load import Load
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

KILLS = 4

COUNTED = RuleFile.model_validate(
    {"rules": [{"key": "n", "type": "integer", "events": {"type": "load", "aggregation": "count"}}]}
)


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner", "properties"])
async def test_killed_again_and_again(system: System, kind: str) -> None:
    random = Random(kind)
    await rule_store.apply_file(system.database.connection, COUNTED)
    gateways = [await system.ingest(), await system.ingest()]
    await system.resolver(resolver_session_timeout=6, resolver_batch=50)
    await system.scanner(scanner_batch=10)
    await system.properties(properties_batch=50)
    victims = [service for service in system.services if service.kind == kind]
    urls = [gateway.url for gateway in gateways]
    async with Load(urls, gateways[0].key, rows_url=system.database.url) as load:
        for _ in range(KILLS):
            await load.grown(by=200)
            await asyncio.sleep(random.uniform(0, 0.5))
            victim = random.choice(victims)
            await victim.kill()
            await asyncio.sleep(random.uniform(0, 0.5))
            victim.start()
        await load.grown(by=200)
    await load.ledger.verified(system.database.url)
    assert kind == "ingest" or not load.failed, "no other process is in a client's way"
    async with database.opened(system.database.url) as opened:
        await eventually(lambda: opened.count("eventChanges"), equals(0))
        report = await audit(opened.connection, datetime.now(UTC), lambda _: None)
    assert report.profiles
    assert not report.disagreements
