"""A supervisor whose workers cannot start exits with a message instead of retrying forever."""

import socket

import psutil
import pytest

from tests.support.system import System
from tests.support.waiting import eventually
from tests.workers.processes import processes


@pytest.mark.parametrize("port", ["ingest_port", "ingest_metrics_port"])
async def test_a_supervisor_exits_if_a_port_is_taken(system: System, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        gateway = await system.new_ingest(ingest_workers=2)
        gateway.set(**{port: number})
        gateway.start()
        assert await gateway.ended() == 1
        assert f"cannot listen on 127.0.0.1:{number}: Address already in use" in gateway.log
        assert "worker started" not in gateway.log


async def test_a_supervisor_exits_if_a_setting_is_invalid(system: System) -> None:
    gateway = await system.new_ingest(ingest_workers=0)
    gateway.start()
    assert await gateway.ended() == 2
    assert "merganser: MERGANSER_INGEST_WORKERS: " in gateway.log
    gateway = await system.new_ingest(ingest_workers=2, ingest_max_batch="many")
    gateway.start()
    assert await gateway.ended() == 2
    assert "merganser: MERGANSER_INGEST_MAX_BATCH: " in gateway.log


@pytest.mark.parametrize("kind", ["ingest", "resolver"])
async def test_a_supervisor_without_tables_exits_and_names_the_command(
    system: System, kind: str, empty_database_url: str
) -> None:
    settings = {f"{kind}_workers": 2, "database_url": empty_database_url}
    service = (
        await system.new_ingest(**settings)
        if kind == "ingest"
        else system.new("resolver", **settings)
    )
    service.start()
    assert await service.ended(within=30) == 1
    assert "run `merganser migrate`" in service.log
    assert "no worker can start" in service.log
    started = [line["worker"] for line in service.log_lines if line["event"] == "worker started"]
    assert set(started) == {f"{kind}-1", f"{kind}-2"}


async def test_a_worker_that_was_ready_once_is_restarted_until_it_starts(system: System) -> None:
    """The cause may be temporary, and the other worker handles all requests meanwhile."""
    gateway = await system.ingest(ingest_workers=2)
    await system.database.execute('ALTER TABLE "schemaMigrations" RENAME TO hidden')
    processes(gateway)["ingest-1"].kill()
    await eventually(lambda: gateway.log.count("it starts again") >= 3)
    await gateway.tracked(type="t", userId="1")
    await system.database.execute('ALTER TABLE hidden RENAME TO "schemaMigrations"')
    await gateway.ready()
    pauses = [line["seconds"] for line in gateway.log_lines if "seconds" in line]
    assert pauses[:3] == [1, 2, 4]


async def test_a_supervisor_survives_that_it_cannot_start_a_process(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)
    supervisor, before = psutil.Process(gateway.pid), processes(gateway)
    _, most = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (3, most))  # as if memory or processes ran out
    before["ingest-1"].kill()
    await eventually(lambda: gateway.log.count("no new process: Too many open files") >= 2)
    await gateway.tracked(type="t", userId="1")
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (most, most))
    await gateway.ready()
    assert processes(gateway)["ingest-2"].pid == before["ingest-2"].pid
