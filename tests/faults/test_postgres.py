"""Postgres is stopped, killed, cut off, full, read-only or without free connections, under load."""

import asyncio
import os
import pwd
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dev.stack.postgres import Postgres
from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.support import database, proxy
from tests.support.freezing import freeze, thaw
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults


@asynccontextmanager
async def loaded(system: System, **settings: object) -> AsyncIterator[tuple[Load, list[Service]]]:
    """Run a load before, during and after the block, then compare the tables.

    ingest needs Postgres for new keys only, so no client may get an error.
    """
    gateway = await system.ingest()
    services = [await system.resolver(**settings), await system.scanner()]
    async with Load([gateway.url], gateway.key, rows_url=system.database.url) as load:
        await load.wait_for(more=200)
        yield load, services
        await load.wait_for(more=200)
        for service in services:
            await eventually(service.why_not_ready, equals({}))
    assert load.ledger.failures == set()
    await verify(system, load.ledger)


async def test_stopped_and_started(system: System, postgres: Postgres) -> None:
    async with loaded(system) as (load, _):
        await asyncio.to_thread(postgres.stop)
        await load.wait_for(more=500)
        await asyncio.to_thread(postgres.start)


async def test_restarted_repeatedly(system: System, postgres: Postgres) -> None:
    async with loaded(system) as (load, _):
        for _ in range(4):
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)
            await load.wait_for(more=100)


@pytest.mark.parametrize("what", ["the server", "the resolver's backend"])
async def test_killed(system: System, postgres: Postgres, what: str) -> None:
    """The server recovers from its log; after a killed backend it does so by itself."""
    async with loaded(system) as (load, _):
        for _ in range(3):
            if what == "the server":
                os.kill(postgres.pid or 0, signal.SIGKILL)
                await eventually(lambda: not postgres.running)
                await asyncio.to_thread(postgres.start)
            else:
                await eventually(postgres.ready)
                os.kill(await _backend(system), signal.SIGKILL)
            await load.wait_for(more=200)


async def _backend(system: System) -> int:
    async with database.opened(system.database.url) as opened:
        # After the name is the version; another connection is `merganser resolver offsets`.
        pids = (
            "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^merganser resolver [0-9]'"
        )
        (pid,) = await eventually(lambda: opened.column(pids), len)
        return int(pid)


async def test_frozen(system: System, postgres: Postgres) -> None:
    async with loaded(system) as (load, _):
        await asyncio.to_thread(freeze, postgres)
        written = _written(postgres)
        await load.wait_for(more=500)
        assert _written(postgres) == written, "a transaction was committed"
        thaw(postgres)


def _written(postgres: Postgres) -> dict[str, int]:
    """Return when each file of its log was last written: each commit writes to the log."""
    log = (postgres.data / "pg_wal").iterdir()
    return {file.name: file.stat().st_mtime_ns for file in log}


@pytest.mark.parametrize("by", ["pg_terminate_backend", "the network"])
async def test_a_copy_is_interrupted(system: System, by: str) -> None:
    """The network is slow, so that a COPY takes long enough."""
    async with (
        proxy.run(system.database.url) as (network, url),
        loaded(system, database_url=url) as (load, _),
    ):
        network.rate = 100_000
        for _ in range(3):
            await eventually(lambda: _copying(system))
            if by == "the network":
                await network.stop()
                await network.start()
            else:
                await system.database.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy "
                    "WHERE datname = current_database()"
                )
            await load.wait_for(more=100)
        network.restore_speed()


async def _copying(system: System) -> int:
    copying = "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()"
    return int(await system.database.value(copying))


async def test_the_disk_is_full(system: System) -> None:
    with _small_disk() as disk:
        async with _tables_on(disk, system), loaded(system) as (load, (resolver, _)):
            await _wait_for_state(resolver, "53100", within=60)
            await asyncio.to_thread(_enlarge, disk)
            await load.wait_for(more=200)


@contextmanager
def _small_disk() -> Iterator[Path]:
    """Mount a small file system, and yield its path."""
    # Postgres runs as a user that must not read the test's own directory.
    disk = Path(f"/mnt/merganser-test-{os.getpid()}")
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    try:
        disk.mkdir()
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        with suppress(OSError):
            disk.rmdir()
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        os.chown(disk, pwd.getpwnam("nobody").pw_uid, -1)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()


def _enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)


@asynccontextmanager
async def _tables_on(disk: Path, system: System) -> AsyncIterator[None]:
    """Keep events on this disk for the length of the block."""
    run = system.database.connection.execute
    where = sql.Literal(str(disk))
    await run(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(where))
    await run("ALTER TABLE events SET TABLESPACE small")
    try:
        yield
    finally:
        await run("ALTER TABLE events SET TABLESPACE pg_default")
        await run("DROP TABLESPACE small")


async def test_read_only(system: System) -> None:
    """As after a failover to a replica that is not promoted yet."""
    run = system.database.connection.execute
    async with loaded(system) as (load, (resolver, _)):
        try:
            await run("ALTER SYSTEM SET default_transaction_read_only = on")
            await run("SELECT pg_reload_conf()")
            await _wait_for_state(resolver, "25006")
            await load.wait_for(more=200)
        finally:
            await run("ALTER SYSTEM RESET default_transaction_read_only")
            await run("SELECT pg_reload_conf()")


async def test_too_many_connections(system: System) -> None:
    async with loaded(system) as (load, (resolver, _)):
        connections: list[psycopg.AsyncConnection[object]] = []
        try:
            await eventually(lambda: _use_all(system, connections, resolver), within=60)
            await load.wait_for(more=200)
        finally:
            for connection in connections:
                await connection.close()


async def _use_all(
    system: System, connections: list[psycopg.AsyncConnection[object]], resolver: Service
) -> bool:
    """Use all connections, also those of the resolver; return whether it has none."""
    with suppress(psycopg.OperationalError):
        while True:
            connections.append(await psycopg.AsyncConnection.connect(system.database.url))
    await system.database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'merganser resolver%%'"
    )
    # libpq gives no SQLSTATE for a connection that was refused.
    return "too many clients" in (await resolver.why_not_ready()).get("postgres", "")


async def _wait_for_state(service: Service, state: str, within: float = 30) -> None:
    """Wait until /readyz reports this SQLSTATE."""
    await eventually(
        service.why_not_ready,
        lambda reasons: state in reasons.get("postgres", ""),
        within=within,
        what=state,
    )
