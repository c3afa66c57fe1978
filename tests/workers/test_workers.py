"""Workers that share a port: a killed one is restarted, and stopping them fails no request."""

import asyncio
import signal
from contextlib import suppress
from functools import partial

import psutil
import pytest

from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.support.gateway import Gateway
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import eventually
from tests.workers.processes import processes

SUPERVISOR_AND_WORKERS = {None, "ingest-1", "ingest-2"}
"""The field `worker` of their log lines; those of the supervisor have none."""

REQUEST = b"GET /openapi.json HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"


def has_ended(process: psutil.Process) -> bool:
    """Return whether the process has ended; an orphan may be a zombie for a while."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def stopping(service: Service) -> set[str | None]:
    """Return the workers that have started to stop."""
    return {line.get("worker") for line in service.log_lines if line["event"] == "stopping"}


async def begun_request(
    gateway: Gateway, length: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection whose worker has read a request's head and waits for its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /api/v1/track HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\n"
        b"content-length: %d\r\n\r\n" % length
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    return reader, writer


async def test_a_killed_worker_is_restarted_and_nothing_is_lost(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)
    resolver = await system.resolver(resolver_workers=2, resolver_batch=50)
    async with Load([gateway.url], gateway.key, clients=8, rate=500) as load:
        for service in (gateway, resolver):
            await load.wait_for(more=200)
            before = processes(service)
            assert set(before) == {f"{service.kind}-1", f"{service.kind}-2"}
            before[f"{service.kind}-1"].kill()
            await load.wait_for(more=200)
            await service.ready()
            after = processes(service)
            assert set(after) == set(before)
            assert after[f"{service.kind}-1"].pid != before[f"{service.kind}-1"].pid
            assert after[f"{service.kind}-2"].pid == before[f"{service.kind}-2"].pid
        await load.wait_for(more=200)
    # Open requests of the killed worker fail; no connection is refused.
    assert load.ledger.failures <= {"RemoteProtocolError", "ReadError"}
    await verify(system, load.ledger)


@pytest.mark.parametrize("kind", ["ingest", "resolver"])
async def test_sigterm_under_load_fails_no_request(system: System, kind: str) -> None:
    gateway = await system.ingest(ingest_workers=2)
    await system.resolver(resolver_workers=2, resolver_batch=50)
    (victim,) = (service for service in system.services if service.kind == kind)
    async with Load([gateway.url], gateway.key, clients=8, rate=500) as load:
        for _ in range(2):
            await load.wait_for(more=200)
            assert await victim.stop(within=20) == 0
            victim.start()
            await victim.ready()
        await load.wait_for(more=200)
    assert "does not answer" not in victim.log
    # A new connection is refused meanwhile; open requests are answered.
    assert load.ledger.failures <= ({"ConnectError"} if kind == "ingest" else set())
    await verify(system, load.ledger)


async def test_sigterm_while_the_workers_start_fails_no_request(system: System) -> None:
    """The supervisor listens already, so clients connect and wait."""
    gateway = await system.new_ingest(ingest_workers=2)
    gateway.start()
    await eventually(lambda: gateway.log.count("worker started") == 2)
    clients = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(50)]
    for _, writer in clients:
        writer.write(REQUEST)
    gateway.send(signal.SIGTERM)
    for reader, writer in clients:
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
    assert await gateway.ended(within=20) == 0


async def test_stopping_one_worker_fails_no_request(system: System) -> None:
    """The other worker continues to accept connections of the shared socket."""
    gateway = await system.ingest(ingest_workers=2)
    async with Load([gateway.url], gateway.key, clients=8, rate=500) as load:
        for name in ("ingest-1", "ingest-2"):
            await load.wait_for(more=200)
            worker = processes(gateway)[name]
            worker.send_signal(signal.SIGTERM)
            await eventually(partial(has_ended, worker))
            await load.wait_for(more=200)
            await gateway.ready()
    assert load.ledger.failures == set()


async def test_sigterm_to_supervisor_and_workers_fails_no_request(
    system: System,
) -> None:
    """systemd sends SIGTERM to all; a worker must not count it twice because of the supervisor."""
    gateway = await system.ingest(ingest_workers=2)
    body = b'{"apiKey": "%s", "type": "t", "userId": "1"}' % gateway.key.encode()
    reader, writer = await begun_request(gateway, len(body))
    for worker in processes(gateway).values():
        worker.send_signal(signal.SIGTERM)
    gateway.send(signal.SIGTERM)
    await eventually(lambda: stopping(gateway) == SUPERVISOR_AND_WORKERS)
    writer.write(body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert await gateway.ended(within=20) == 0


async def test_a_killed_supervisor_leaves_no_worker(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)
    workers = list(processes(gateway).values())
    assert len(workers) == 2
    workers[0].suspend()  # as if its event loop hung
    try:
        await gateway.kill()
        await eventually(lambda: all(map(has_ended, workers)))
    finally:
        with suppress(psutil.NoSuchProcess):
            workers[0].resume()  # it reads the end of the pipe if the kernel did not kill it


async def test_a_second_signal_quits_at_once(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)
    workers = list(processes(gateway).values())
    _, writer = await begun_request(gateway, length=9)
    gateway.send(signal.SIGTERM)
    await eventually(lambda: stopping(gateway) == SUPERVISOR_AND_WORKERS)
    assert gateway.running
    gateway.send(signal.SIGTERM)
    assert await gateway.ended(within=5) == 128 + signal.SIGTERM
    await eventually(lambda: all(map(has_ended, workers)))
    writer.close()


async def test_one_worker_needs_no_supervisor(system: System) -> None:
    gateway = await system.ingest(ingest_workers=1)
    assert processes(gateway) == {}
    assert "worker" not in gateway.log_lines[0]


async def test_connections_that_wait_survive_a_killed_worker(system: System) -> None:
    """All workers accept from one queue, so it does not end with one of them."""
    gateway = await system.ingest(ingest_workers=2)
    workers = processes(gateway)
    for worker in workers.values():
        worker.suspend()
    clients = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(50)]
    for _, writer in clients:
        writer.write(REQUEST)
    workers["ingest-1"].kill()
    workers["ingest-2"].resume()
    for reader, writer in clients:
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def test_the_option_overrides_the_setting(system: System) -> None:
    gateway = await system.new_ingest(ingest_workers=3)
    gateway.arguments = ["--workers", "2"]
    gateway.start()
    await gateway.ready()
    assert set(processes(gateway)) == {"ingest-1", "ingest-2"}
