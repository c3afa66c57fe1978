"""A process may start before what it needs: it lives, says what it waits for, and gets ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support import proxy
from tests.support.events import event
from tests.support.proxy import Proxy
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually


async def new(system: System, kind: str, **settings: object) -> Service:
    if kind == "ingest":
        return await system.new_ingest(**settings)
    return system.new("resolver" if kind == "resolver" else "scanner", **settings)


async def alive(service: Service) -> bool:
    try:
        return (await service.ops("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_before_postgres(system: System, kind: str) -> None:
    """Alive meanwhile, or its supervisor would restart it again and again."""
    async with proxy.run(system.database.url) as (network, url):
        await network.stop()
        service = await new(system, kind, database_url=url)
        service.start()
        await eventually(lambda: "trying again" in service.log)
        await eventually(lambda: alive(service), within=5)
        assert await service.why_not_ready()
        await network.start()
        await service.ready()


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_a_process_without_tables_exits_and_names_the_command(
    system: System, kind: str, empty_database_url: str
) -> None:
    service = await new(system, kind, database_url=empty_database_url)
    service.start()
    assert await service.ended(within=30) not in (0, None)
    assert "run `merganser migrate`" in service.log


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_postgres_that_goes_and_comes_back(system: System, kind: str) -> None:
    """Ingest needs it for new keys only; the others wait and say so."""
    async with proxy.run(system.database.url) as (network, url):
        service = await new(system, kind, database_url=url)
        service.start()
        await service.ready()
        await network.stop()
        if kind == "scanner":
            reasons = await eventually(service.why_not_ready)
            assert "postgres" in reasons
            assert await service.metric("merganser_check_failing", check="postgres") == 1
        assert service.running
        await network.start()
        await service.ready()
        assert (await service.metrics()).total("merganser_check_failing") == 0
        await network.stop()
        assert await service.stop() == 0  # in time, although it is away again


STALLED = {"resolver_silence": 1}
"""Soon, so that a test sees what explains it."""


async def test_only_postgres_is_away(system: System) -> None:
    """Kafka is not blamed for it, neither at the start nor later, and nothing is stalled."""
    async with proxy.run(system.database.url) as (network, url):
        await network.stop()
        resolver = await new(system, "resolver", database_url=url, **STALLED)
        resolver.start()
        await eventually(lambda: alive(resolver))
        assert list(await eventually(resolver.why_not_ready)) == ["postgres"]
        await network.start()
        await resolver.ready()
        await network.stop()
        await system.events.publish_events([event(user="1")])
        assert list(await eventually(resolver.why_not_ready)) == ["postgres"]
        # Another member comes: the partitions are given out again while no position can be read.
        other = await system.resolver()
        await asyncio.sleep(3)  # longer than what is silent too long
        for check in ("kafka", "stalled", "halted"):
            assert await resolver.metric("merganser_check_failing", check=check) == 0
        assert list(await resolver.why_not_ready()) == ["postgres"]
        await network.start()
        await resolver.ready()
        assert await other.why_not_ready() == {}


async def test_only_kafka_is_away_at_the_start(system: System) -> None:
    async with kafka_proxy(system) as (network, bootstrap):
        resolver = await new(system, "resolver", kafka_bootstrap=bootstrap, **STALLED)
        resolver.start()
        await eventually(lambda: alive(resolver))
        assert list(await eventually(resolver.why_not_ready, lambda why: "kafka" in why)) == [
            "kafka"
        ]
        await network.start()
        await resolver.ready()


async def test_ingest_before_kafka(system: System) -> None:
    """It listens and says 503 itself: clients hear when to come again, and lose nothing."""
    async with kafka_proxy(system) as (network, bootstrap):
        gateway = await system.new_ingest(kafka_bootstrap=bootstrap)
        gateway.start()
        await eventually(lambda: alive(gateway))
        reasons, warnings = await eventually(
            gateway.readiness, lambda readiness: not readiness[0], what="ready"
        )
        assert (reasons, list(warnings)) == ({}, ["kafka"])
        assert await gateway.metric("merganser_check_failing", check="kafka") == 1
        answer = await gateway.track(type="t", userId="1")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert (await gateway.metric("merganser_ingest_request_seconds_count", status="503")) == 1
        await network.start()
        await gateway.ready()
        await gateway.tracked(type="t", userId="1")
        assert await gateway.metric("merganser_check_failing", check="kafka") == 0


async def test_ingest_ends_well_before_kafka(system: System) -> None:
    async with kafka_proxy(system) as (_, bootstrap):
        gateway = await system.new_ingest(kafka_bootstrap=bootstrap)
        gateway.start()
        await eventually(lambda: alive(gateway))
        await eventually(gateway.readiness, lambda readiness: not readiness[0], what="ready")
        assert await gateway.stop() == 0
        assert gateway.defects == []


@asynccontextmanager
async def kafka_proxy(system: System) -> AsyncIterator[tuple[Proxy, str]]:
    """A way to the broker that is closed at first, and its address."""
    host, port = system.events.bootstrap.rsplit(":", 1)
    network = Proxy(host, int(port))
    try:
        yield network, f"127.0.0.1:{network.port}"
    finally:
        await network.stop()
