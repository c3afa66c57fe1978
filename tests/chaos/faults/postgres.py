"""Postgres dies, stops, freezes, throws its clients out, and refuses to write or to listen."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg

from tests.chaos.faults.fault import Harm, fault
from tests.chaos.stage import Stage, admin, connected
from tests.support.freezing import resume, suspend

BACKENDS = "FROM pg_stat_activity WHERE application_name LIKE 'merganser %'"


@fault("Postgres killed", "postgres", weight=2)
async def killed(stage: Stage) -> AsyncIterator[Harm]:
    assert stage.postgres.process
    stage.postgres.process.send(signal.SIGKILL)
    await asyncio.to_thread(stage.postgres.process.wait, 10)
    yield Harm("Postgres got SIGKILL", stage.random.uniform(0, 4))
    await asyncio.to_thread(stage.postgres.start)


@fault("Postgres crashed", "postgres")
async def crashed(stage: Stage) -> AsyncIterator[Harm]:
    """A backend that dies takes all others with it: the server recovers by itself."""
    async with await connected(stage) as connection:
        cursor = await connection.execute(f"SELECT pid {BACKENDS} ORDER BY random() LIMIT 1")
        victims = [pid for (pid,) in await cursor.fetchall()]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    yield Harm("a Postgres backend got SIGKILL: crash recovery")


@fault("Postgres stopped", "postgres")
async def stopped(stage: Stage) -> AsyncIterator[Harm]:
    await asyncio.to_thread(stage.postgres.stop)
    yield Harm("Postgres is stopped", stage.random.uniform(0, 6))
    await asyncio.to_thread(stage.postgres.start)


@fault("Postgres frozen", "postgres", weight=2)
async def frozen(stage: Stage) -> AsyncIterator[Harm]:
    await asyncio.to_thread(suspend, stage.postgres.pid or 0)
    yield Harm("Postgres is frozen (SIGSTOP)", stage.random.uniform(2, 10))
    resume(stage.postgres.pid or 0)


@fault("connections terminated", "postgres", weight=3)
async def terminated(stage: Stage) -> AsyncIterator[Harm]:
    rounds = stage.random.randrange(1, 6)
    yield Harm(f"all backends are terminated, {rounds} times")
    for _ in range(rounds):
        await admin(stage, f"SELECT pg_terminate_backend(pid) {BACKENDS}")
        await asyncio.sleep(stage.random.uniform(0.1, 1))


@fault("Postgres read-only", "postgres")
async def read_only(stage: Stage) -> AsyncIterator[Harm]:
    await admin(stage, "ALTER SYSTEM SET default_transaction_read_only = on")
    await admin(stage, "SELECT pg_reload_conf()")
    yield Harm("Postgres is read-only", stage.random.uniform(2, 6))
    await admin(stage, "ALTER SYSTEM RESET default_transaction_read_only")
    await admin(stage, "SELECT pg_reload_conf()")


@fault("too many connections", "postgres", quick=False)
async def too_many_connections(stage: Stage) -> AsyncIterator[Harm]:
    seconds = stage.random.uniform(3, 6)
    async with AsyncExitStack() as held:
        first = await held.enter_async_context(await connected(stage))
        yield Harm("somebody else has all connections to Postgres")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await held.enter_async_context(await stage.connect())
            except psycopg.OperationalError:  # they are all ours, but for those of our processes
                await first.execute(f"SELECT pg_terminate_backend(pid) {BACKENDS}")
                await asyncio.sleep(0.05)
