"""The network between each pair is delayed, throttled, cut and silent, under load."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.decoration.harness import url_of
from tests.support import proxy
from tests.support.database import Database
from tests.support.proxy import Proxy
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

SECONDS = 4.0


async def _delayed(network: Proxy) -> None:
    network.delay = 0.3
    await asyncio.sleep(SECONDS)
    network.restore_speed()


async def _throttled(network: Proxy) -> None:
    network.rate = 20_000
    await asyncio.sleep(SECONDS)
    network.restore_speed()


async def _cut(network: Proxy) -> None:
    for _ in range(3):
        await network.stop()
        await asyncio.sleep(SECONDS / 8)
        await network.start()
        await asyncio.sleep(SECONDS / 8)


async def _silent(network: Proxy) -> None:
    network.freeze()
    await asyncio.sleep(SECONDS)
    network.thaw()


Fault = Callable[[Proxy], Awaitable[None]]

each_fault = pytest.mark.parametrize(
    "fault", [_delayed, _throttled, _cut, _silent], ids=lambda fault: fault.__name__.strip("_")
)


async def _inject(fault: Fault, network: Proxy) -> None:
    """Break the network, and check that it affected connections."""
    await fault(network)
    assert network.resets if fault is _cut else network.delayed_bytes, "no connection was affected"


async def _verify_with_fault(system: System, load: Load, fault: Fault, network: Proxy) -> None:
    """Break the network under load, then compare the tables."""
    async with load:
        await load.wait_for(more=100)
        await _inject(fault, network)
        await load.wait_for(more=200)
    await verify(system, load.ledger)


PAIRS = [
    "client-ingest",
    "ingest-kafka",
    "ingest-postgres",
    "resolver-kafka",
    "resolver-postgres",
    "scanner-postgres",
]


DELAYING_CLIENTS = {"client-ingest", "ingest-kafka"}


@pytest.mark.parametrize("pair", PAIRS)
@each_fault
async def test_between(system: System, kafka_network: Proxy, pair: str, fault: Fault) -> None:
    async with _system_by_proxy(system, kafka_network, pair) as (load, network):
        await _verify_with_fault(system, load, fault, network)
    assert pair in DELAYING_CLIENTS or not load.ledger.failures


@asynccontextmanager
async def _system_by_proxy(
    system: System, kafka_network: Proxy, pair: str
) -> AsyncIterator[tuple[Load, Proxy]]:
    """Start all processes, with a proxy between one pair; yield the load and the proxy."""
    one, other = pair.split("-")
    async with proxy.run(system.database.url) as (to_postgres, url):
        by_proxy: dict[str, object] = (
            {"kafka_bootstrap": f"127.0.0.1:{kafka_network.port}"}
            if other == "kafka"
            else {"database_url": url}
        )
        settings = {one: by_proxy}
        gateway = await system.ingest(**settings.get("ingest", {}))
        await system.resolver(**settings.get("resolver", {}), resolver_session_timeout=6)
        await system.scanner(**settings.get("scanner", {}))
        network = kafka_network if other == "kafka" else to_postgres
        if other == "ingest":
            network = Proxy("127.0.0.1", gateway.port)
            await network.start()
        address = f"http://127.0.0.1:{network.port}" if other == "ingest" else gateway.url
        yield Load([address], gateway.key, rows_url=system.database.url), network
        if other == "ingest":
            await network.stop()


RULES = RuleFile.model_validate(
    {
        "sources": {"crm": {"url": "CRM_URL"}},
        "rules": [
            {"key": "userId", "type": "string", "unique": True, "identifying": True},
            {"key": "n", "type": "integer", "events": {"type": "record", "aggregation": "count"}},
            {
                "key": "plan",
                "type": "string",
                "query": {
                    "source": "crm",
                    "sql": """SELECT "userId" AS id, 'plan ' || "userId" AS plan FROM profiles """
                    """WHERE "userId" = ANY(:userIds)""",
                    "column": "plan",
                },
            },
        ],
    }
)


@each_fault
async def test_between_properties_and_postgres(system: System, fault: Fault) -> None:
    async with _with_rules(system) as (load, network, url):
        await system.properties(database_url=url)
        await _verify_with_fault(system, load, fault, network)
    assert load.ledger.failures == set()


@each_fault
async def test_between_decoration_and_postgres(system: System, fault: Fault) -> None:
    """The company's own database is not behind this proxy."""
    system.env["CRM_URL"] = url_of(system.database.url)
    async with _with_rules(system) as (load, network, url):
        await system.decoration(database_url=url)
        await _verify_with_fault(system, load, fault, network)
        await eventually(lambda: _undecorated(system.database), equals(0), within=60)
    assert load.ledger.failures == set()


async def _undecorated(opened: Database) -> int:
    """Return how many known users lack the value of the company's database."""
    return int(
        await opened.value(
            """
            SELECT count(*) FROM profiles p WHERE "userId" IS NOT NULL AND NOT EXISTS (
                SELECT FROM "profileProperties"
                WHERE "profileGuid" = p.guid AND key = 'plan' AND value = 'plan ' || p."userId"
            )
            """
        )
    )


@each_fault
async def test_between_api_and_postgres(system: System, fault: Fault) -> None:
    """Reads are answered 200 or 503, each in time, and 200 after the fault."""
    key = await system.key("reader", "events:read")
    headers = {"authorization": f"Bearer {key}"}
    async with (
        proxy.run(system.database.url) as (network, url),
        httpx.AsyncClient(headers=headers, timeout=10) as client,
    ):
        _, api = await system.api(database_url=url, api_statement_timeout=1)

        async def read() -> int:
            return (await client.get(f"{api}/events")).status_code

        assert await read() == 200
        injected = asyncio.create_task(_inject(fault, network))
        statuses = set()
        while not injected.done():
            statuses.add(await read())
        await injected
        assert statuses <= {200, 503}
        assert fault in (_delayed, _throttled) or 503 in statuses
        await eventually(read, equals(200))


@asynccontextmanager
async def _with_rules(system: System) -> AsyncIterator[tuple[Load, Proxy, str]]:
    """Start ingest and resolver on a database with rules; yield the load, a proxy and its URL."""
    await rule_store.apply_file(system.database.connection, RULES)
    gateway = await system.ingest()
    await system.resolver()
    async with proxy.run(system.database.url) as (network, url):
        yield Load([gateway.url], gateway.key), network, url
