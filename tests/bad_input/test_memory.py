"""Concurrent gzip bombs take bounded memory."""

import asyncio
import gzip

from tests.support import memory
from tests.support.system import System

BOMB = gzip.compress(b"\0" * (160 << 20), compresslevel=6)
BOMBS = 40
MAX_GROWTH = 80 << 20
"""Bytes. A waiting request holds its compressed body, and a decompressing one up to 1 MiB more; one
fully decompressed bomb would take twice this growth."""


async def test_concurrent_gzip_bombs_take_bounded_memory(system: System) -> None:
    gateway = await system.ingest()
    await gateway.tracked(type="t", userId="1")

    async def send_bombs() -> list[int]:
        posts = (gateway.post("/api/v1/track", BOMB) for _ in range(BOMBS))
        return [answer.status_code for answer in await asyncio.gather(*posts)]

    growth, statuses = await memory.measure_growth(gateway.pid, send_bombs())
    assert growth < MAX_GROWTH
    assert set(statuses) == {413}
    await gateway.tracked(type="t", userId="1")
