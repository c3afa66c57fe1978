"""The network between each pair delayed, throttled, cut and silent, under load."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support import proxy
from tests.support.load import Load
from tests.support.proxy import Proxy
from tests.support.system import System

pytestmark = pytest.mark.faults

LASTS = 4.0


async def _delayed(network: Proxy) -> None:
    network.delay = 0.3
    await asyncio.sleep(LASTS)
    network.hurry()


async def _throttled(network: Proxy) -> None:
    network.rate = 20_000
    await asyncio.sleep(LASTS)
    network.hurry()


async def _cut(network: Proxy) -> None:
    for _ in range(3):
        await network.stop()
        await asyncio.sleep(LASTS / 8)
        await network.start()
        await asyncio.sleep(LASTS / 8)


async def _silent(network: Proxy) -> None:
    network.freeze()
    await asyncio.sleep(LASTS)
    network.thaw()


PAIRS = [
    "client-ingest",
    "ingest-kafka",
    "ingest-postgres",
    "resolver-kafka",
    "resolver-postgres",
    "scanner-postgres",
]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "fault", [_delayed, _throttled, _cut, _silent], ids=lambda fault: fault.__name__.strip("_")
)
async def test_between(
    system: System,
    kafka_network: Proxy,
    pair: str,
    fault: Callable[[Proxy], "asyncio.Future[None]"],
) -> None:
    async with _system_by_proxy(system, kafka_network, pair) as (load, network):
        async with load:
            await load.grown(by=100)
            await fault(network)
            await load.grown(by=200)
        await load.ledger.verified(system.database.url)


@asynccontextmanager
async def _system_by_proxy(
    system: System, kafka_network: Proxy, pair: str
) -> AsyncIterator[tuple[Load, Proxy]]:
    """All processes, two of which meet only by way of a proxy, and the load for them."""
    one, other = pair.split("-")
    async with proxy.before(system.database.url) as (to_postgres, url):
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
