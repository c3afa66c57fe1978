"""The read API as a process: metrics, an outage of Postgres, and shutdown."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from merganser.runtime import metrics
from tests.support import proxy
from tests.support.system import System
from tests.support.waiting import equals, eventually


@pytest.fixture
async def client(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key that may read."""
    key = await system.key("reader", "events:read", "profiles:read")
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        yield client


async def test_requests_are_answered_and_measured(
    system: System, client: httpx.AsyncClient
) -> None:
    service, url = await system.api()
    assert (await client.get(f"{url}/events")).json() == {"events": [], "nextCursor": None}
    assert (await client.get(f"{url}/profiles")).json() == {"profiles": [], "nextCursor": None}
    assert (await client.get(f"{url}/event/evt_none")).status_code == 404
    assert (await client.get(f"{url}/nothing")).status_code == 404
    key = client.headers["authorization"].removeprefix("Bearer ")
    async with httpx.AsyncClient(params={"apiKey": key}) as other:
        assert (await other.get(f"{url}/profiles")).status_code == 200
    assert (await client.get(f"{url}/events?apikey={key}")).status_code == 422

    measured = await service.metrics()
    ours = {family.name for family in measured.families if family.name.startswith("merganser_")}
    assert ours <= {family.name for family in metrics.API.collect()}
    name = "merganser_api_request_seconds_count"
    assert measured.value(name, route="/api/v1/events", status="200") == 1
    # The route and not the path, because the number of paths is unlimited.
    assert measured.value(name, route="/api/v1/event/{guid}", status="404") == 1
    assert measured.value(name, route="unknown", status="404") == 1
    assert await service.stop() == 0
    assert "because of a bug" not in service.log
    assert key not in service.log


async def test_an_open_request_is_answered_before_shutdown(
    system: System, client: httpx.AsyncClient
) -> None:
    service, url = await system.api()
    await client.get(f"{url}/events")
    async with system.database.connection.transaction():
        await system.database.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        request = asyncio.create_task(client.get(f"{url}/events"))
        await eventually(system.database.lock_waits, equals(1))
        service.send(signal.SIGTERM)
        await eventually(lambda: "stopping" in service.log)
        await asyncio.sleep(0.5)  # long enough to exit, if it did not wait for the answer
    assert (await request).status_code == 200
    assert await service.ended() == 0


async def test_requests_are_refused_while_postgres_is_unreachable(
    system: System, client: httpx.AsyncClient
) -> None:
    async with proxy.run(system.database.url) as (network, url_of_postgres):
        service, url = await system.api(database_url=url_of_postgres, api_keys_interval=0.2)
        assert (await client.get(f"{url}/events")).status_code == 200
        await network.stop()
        response = await client.get(f"{url}/events")
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        reasons = await eventually(service.why_not_ready)
        assert list(reasons) == ["postgres"]
        assert (await service.ops("/healthz")).status_code == 200

        await network.start()
        await service.ready()
        assert (await client.get(f"{url}/events")).status_code == 200

        await network.stop()
        await eventually(service.why_not_ready)
        assert await service.stop() == 0  # also without Postgres


async def test_a_process_without_tables_exits_and_names_the_command(
    system: System, empty_database_url: str
) -> None:
    service = system.new("api", database_url=empty_database_url)
    service.start()
    assert await service.ended(within=30) not in (0, None)
    assert "run `merganser migrate`" in service.log


async def test_a_revoked_key_stops_working(system: System, client: httpx.AsyncClient) -> None:
    _, url = await system.api(api_keys_interval=0.2)
    assert (await client.get(f"{url}/events")).status_code == 200
    await system.database.execute('UPDATE "apiKeys" SET "revokedAt" = now()')

    async def status() -> int:
        return (await client.get(f"{url}/events")).status_code

    await eventually(status, equals(401))
