"""A process may start before what it needs: it lives, says what it waits for, and gets ready."""

import httpx
import pytest

from tests.support import proxy
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
    """Alive meanwhile, or whoever watches over it would restart it again and again."""
    async with proxy.before(system.database.url) as (network, url):
        await network.stop()
        service = await new(system, kind, database_url=url)
        service.start()
        await eventually(lambda: "trying again" in service.log)
        await eventually(lambda: alive(service), within=5)
        assert await service.why_not_ready()
        await network.start()
        await service.ready()


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_without_tables_it_ends_and_says_what_to_do(
    system: System, kind: str, empty_database_url: str
) -> None:
    service = await new(system, kind, database_url=empty_database_url)
    service.start()
    assert await service.ended(within=30) not in (0, None)
    assert "run `merganser migrate`" in service.log


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner"])
async def test_postgres_that_goes_and_comes_back(system: System, kind: str) -> None:
    """Ingest needs it for new keys only; the others wait and say so."""
    async with proxy.before(system.database.url) as (network, url):
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
