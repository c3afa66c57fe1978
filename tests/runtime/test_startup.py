"""A process can start before Kafka and Postgres: it reports what it waits for, then gets ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import SecretStr

from merganser.process import Process
from merganser.runtime.lifecycle import Stop
from merganser.runtime.settings import Settings
from schemas.migrations import SchemaError
from tests.support import proxy
from tests.support.events import event
from tests.support.proxy import Proxy
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually


async def new_service(system: System, kind: str, **settings: object) -> Service:
    if kind == "ingest":
        return await system.new_ingest(**settings)
    return system.new("resolver" if kind == "resolver" else "scanner", **settings)


async def is_alive(service: Service) -> bool:
    try:
        return (await service.ops("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_a_process_waits_for_postgres_at_its_start(system: System, kind: str) -> None:
    """/healthz answers 200 while it waits, so that a supervisor does not restart it."""
    async with proxy.run(system.database.url) as (network, url):
        await network.stop()
        service = await new_service(system, kind, database_url=url)
        service.start()
        await eventually(lambda: "trying again" in service.log)
        await eventually(lambda: is_alive(service), within=5)
        assert await service.why_not_ready()
        await network.start()
        await service.ready()


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_a_process_without_tables_exits_and_names_the_command(
    system: System, kind: str, empty_database_url: str
) -> None:
    service = await new_service(system, kind, database_url=empty_database_url)
    service.start()
    assert await service.ended(within=30) not in (0, None)
    assert "run `merganser migrate`" in service.log


async def test_a_process_without_tables_is_never_ready(empty_database_url: str) -> None:
    """Not even for the moment before it exits: a supervisor would restart it again and again."""
    settings = Settings(database_url=SecretStr(empty_database_url), _env_file=None)
    process = Process(settings, Stop(), None)
    database = process.open_database("tests")
    process.checks["postgres"] = lambda: database.failure  # as `properties` has it
    with pytest.raises(SchemaError):
        await process.check_schema()
    await process.close()
    assert {name for name, check in process.checks.items() if check()} == {"schema"}


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_a_process_survives_an_outage_of_postgres(system: System, kind: str) -> None:
    """ingest needs Postgres only for new keys; the scanner reports that it waits."""
    async with proxy.run(system.database.url) as (network, url):
        service = await new_service(system, kind, database_url=url)
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
        assert await service.stop() == 0  # also during an outage


SHORT_SILENCE = {"resolver_silence": 1}
"""A resolver with this setting soon reports a stall, so a test sees whether it does."""


async def test_an_outage_of_postgres_is_not_reported_as_another_failure(system: System) -> None:
    """Neither at the start nor later does the resolver report Kafka or a stall."""
    async with proxy.run(system.database.url) as (network, url):
        await network.stop()
        resolver = await new_service(system, "resolver", database_url=url, **SHORT_SILENCE)
        resolver.start()
        await eventually(lambda: is_alive(resolver))
        assert list(await eventually(resolver.why_not_ready)) == ["postgres"]
        await network.start()
        await resolver.ready()
        await network.stop()
        await system.events.publish_events([event(user="1")])
        assert list(await eventually(resolver.why_not_ready)) == ["postgres"]
        # Another member joins: the group rebalances while no resolver can read its offsets.
        other = await system.resolver()
        await asyncio.sleep(3)  # longer than resolver_silence
        for check in ("kafka", "stalled", "halted"):
            assert await resolver.metric("merganser_check_failing", check=check) == 0
        assert list(await resolver.why_not_ready()) == ["postgres"]
        await network.start()
        await resolver.ready()
        assert await other.why_not_ready() == {}


async def test_an_outage_of_kafka_at_the_start_is_reported(system: System) -> None:
    async with kafka_proxy(system) as (network, bootstrap):
        resolver = await new_service(system, "resolver", kafka_bootstrap=bootstrap, **SHORT_SILENCE)
        resolver.start()
        await eventually(lambda: is_alive(resolver))
        assert list(
            await eventually(resolver.why_not_ready, lambda reasons: "kafka" in reasons)
        ) == ["kafka"]
        await network.start()
        await resolver.ready()


async def test_ingest_without_kafka_answers_503(system: System) -> None:
    """Retry-After tells clients when to send the events again, so they lose none."""
    async with kafka_proxy(system) as (network, bootstrap):
        gateway = await system.new_ingest(kafka_bootstrap=bootstrap)
        gateway.start()
        await eventually(lambda: is_alive(gateway))
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


async def test_ingest_without_kafka_stops_without_errors(system: System) -> None:
    async with kafka_proxy(system) as (_, bootstrap):
        gateway = await system.new_ingest(kafka_bootstrap=bootstrap)
        gateway.start()
        await eventually(lambda: is_alive(gateway))
        await eventually(gateway.readiness, lambda readiness: not readiness[0], what="ready")
        assert await gateway.stop() == 0
        assert gateway.defects == []


@asynccontextmanager
async def kafka_proxy(system: System) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy in front of the broker that is not started yet, and its address."""
    host, port = system.events.bootstrap.rsplit(":", 1)
    network = Proxy(host, int(port))
    try:
        yield network, f"127.0.0.1:{network.port}"
    finally:
        await network.stop()
