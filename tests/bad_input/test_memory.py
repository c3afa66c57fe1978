"""A gzip bomb costs bounded memory, however many come at once."""

import asyncio
import gzip

from tests.support import memory
from tests.support.system import System

BOMB = gzip.compress(b"\0" * (160 << 20), compresslevel=6)
BOMBS = 40
BOUND = 80 << 20
"""Bytes that the process may grow by: each request that waits holds its packed body, each one that
is unpacked 1 MiB. One bomb alone would take twice as much."""


async def test_bombs_at_once_leave_memory_bounded(system: System) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="t", userId="1")

    async def sent() -> list[int]:
        posts = (gateway.post("/api/v1/track", BOMB) for _ in range(BOMBS))
        return [answer.status_code for answer in await asyncio.gather(*posts)]

    growth, statuses = await memory.measure_growth(gateway.pid, sent())
    assert growth < BOUND
    assert set(statuses) == {413}
    await gateway.tracked(type="t", userId="1")
