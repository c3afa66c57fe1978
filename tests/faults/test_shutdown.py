"""SIGTERM under full load: open requests are answered, nothing is lost, exit 0 in 10 s."""

import asyncio
import signal

import httpx
import pytest

from merganser.rulebook import rule_store
from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.chaos.rules import RULES
from tests.support import proxy
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("kind", ["ingest", "resolver", "scanner", "properties"])
async def test_under_full_load(system: System, kind: str) -> None:
    await rule_store.apply_file(system.database.connection, RULES)
    gateway = await system.ingest()
    await system.resolver(resolver_batch=50)
    await system.scanner(scanner_batch=5)
    await system.properties(properties_batch=20)
    (victim,) = (service for service in system.services if service.kind == kind)
    async with Load(
        [gateway.url], gateway.key, clients=8, rate=1000, rows_url=system.database.url
    ) as load:
        for _ in range(3):
            await load.wait_for(more=200)
            assert await victim.stop(within=10) == 0
            victim.start()
            await victim.ready()
        await load.wait_for(more=200)
    assert "does not answer" not in victim.log, "it exited because of a timeout"
    # A new connection is refused meanwhile; open requests are answered.
    assert load.ledger.failures <= ({"ConnectError"} if kind == "ingest" else set())
    await verify(system, load.ledger)


async def test_an_answer_announces_that_the_connection_closes(system: System) -> None:
    gateway = await system.ingest()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = b"OPTIONS /api/v1/track HTTP/1.1\r\nhost: here\r\n\r\n"
    writer.write(head)
    assert b"connection: close" not in await reader.readuntil(b"\r\n\r\n")
    gateway.send(signal.SIGTERM)
    await eventually(lambda: "stopping" in gateway.log)
    writer.write(head)
    assert b"connection: close" in await reader.readuntil(b"\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    assert await gateway.ended() == 0


@pytest.mark.parametrize(
    "kind", ["ingest", "resolver", "scanner", "properties", "decoration", "api"]
)
async def test_a_second_signal_quits_at_once(system: System, kind: str) -> None:
    """Each is busy with something that does not end: half a body, a frozen database."""
    async with proxy.run(system.database.url) as (network, url):
        writer = None
        if kind == "ingest":
            gateway = await system.ingest(database_url=url)
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"POST /api/v1/track HTTP/1.1\r\ncontent-length: 9\r\n\r\n")
        elif kind == "api":
            _, api = await system.api(database_url=url)
            key = await system.key("reader", "profiles:read")
            network.freeze()
            _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(api).port)
            writer.write(
                b"GET /api/v1/profiles?userId=1 HTTP/1.1\r\n"
                b"authorization: Bearer " + key.encode() + b"\r\n\r\n"
            )
        else:
            await getattr(system, kind)(database_url=url)
            await system.events.publish_events([event(user="1")])
            network.freeze()
        (service,) = system.services
        await asyncio.sleep(1)
        service.send(signal.SIGTERM)
        await eventually(lambda: "stopping" in service.log)
        await asyncio.sleep(1)
        assert service.running, "it must wait for its work"
        service.send(signal.SIGTERM)
        assert await service.ended(within=2) == 128 + signal.SIGTERM
        if writer is not None:
            writer.close()
