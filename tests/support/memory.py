"""How large a process grows while something is done to it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psutil

Result = TypeVar("Result")


async def grown(pid: int, work: Coroutine[Any, Any, Result]) -> tuple[int, Result]:
    """Do the work; the bytes that the process grew by at its peak, and the result.

    Memory that is given back before the end counts, too.
    """
    process = psutil.Process(pid)
    before = peak = process.memory_info().rss
    done = asyncio.ensure_future(work)
    while not done.done():
        peak = max(peak, process.memory_info().rss)
        await asyncio.sleep(0.005)
    return peak - before, await done
