"""Postgres is killed, stopped and frozen; terminates or refuses connections; is read-only."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg

from tests.chaos.deployment import Deployment
from tests.chaos.faults.fault import Injected, fault
from tests.support.freezing import resume, suspend

BACKENDS = "FROM pg_stat_activity WHERE application_name LIKE 'merganser %'"


@fault("Postgres killed", "postgres", weight=2)
async def killed(deployment: Deployment) -> AsyncIterator[Injected]:
    assert deployment.postgres.process
    deployment.postgres.process.send(signal.SIGKILL)
    await asyncio.to_thread(deployment.postgres.process.wait, 10)
    yield Injected("Postgres got SIGKILL", deployment.random.uniform(0, 4))
    await asyncio.to_thread(deployment.postgres.start)


@fault("Postgres crashed", "postgres")
async def crashed(deployment: Deployment) -> AsyncIterator[Injected]:
    """When one backend dies, Postgres ends all others and recovers by itself."""
    async with await deployment.reconnect() as connection:
        cursor = await connection.execute(f"SELECT pid {BACKENDS} ORDER BY random() LIMIT 1")
        victims = [pid for (pid,) in await cursor.fetchall()]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    yield Injected("a Postgres backend got SIGKILL: crash recovery")


@fault("Postgres stopped", "postgres")
async def stopped(deployment: Deployment) -> AsyncIterator[Injected]:
    await asyncio.to_thread(deployment.postgres.stop)
    yield Injected("Postgres is stopped", deployment.random.uniform(0, 6))
    await asyncio.to_thread(deployment.postgres.start)


@fault("Postgres frozen", "postgres", weight=2)
async def frozen(deployment: Deployment) -> AsyncIterator[Injected]:
    await asyncio.to_thread(suspend, deployment.postgres.pid or 0)
    yield Injected("Postgres is frozen (SIGSTOP)", deployment.random.uniform(2, 10))
    resume(deployment.postgres.pid or 0)


@fault("connections terminated", "postgres", weight=3)
async def terminated(deployment: Deployment) -> AsyncIterator[Injected]:
    rounds = deployment.random.randrange(1, 6)
    yield Injected(f"all backends are terminated, {rounds} times")
    for _ in range(rounds):
        await deployment.execute(f"SELECT pg_terminate_backend(pid) {BACKENDS}")
        await asyncio.sleep(deployment.random.uniform(0.1, 1))


@fault("Postgres read-only", "postgres")
async def read_only(deployment: Deployment) -> AsyncIterator[Injected]:
    await deployment.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    await deployment.execute("SELECT pg_reload_conf()")
    yield Injected("Postgres is read-only", deployment.random.uniform(2, 6))
    await deployment.execute("ALTER SYSTEM RESET default_transaction_read_only")
    await deployment.execute("SELECT pg_reload_conf()")


@fault("too many connections", "postgres", quick=False)
async def too_many_connections(deployment: Deployment) -> AsyncIterator[Injected]:
    seconds = deployment.random.uniform(3, 6)
    async with AsyncExitStack() as connections:
        first = await connections.enter_async_context(await deployment.reconnect())
        yield Injected("another client has all connections to Postgres")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await connections.enter_async_context(await deployment.connect())
            except psycopg.OperationalError:  # only connections of our processes are left
                await first.execute(f"SELECT pg_terminate_backend(pid) {BACKENDS}")
                await asyncio.sleep(0.05)
