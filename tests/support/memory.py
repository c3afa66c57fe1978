"""Measure how far the memory of a process grows."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psutil

Result = TypeVar("Result")


async def measure_growth(pid: int, work: Coroutine[Any, Any, Result]) -> tuple[int, Result]:
    """Do the work; return the bytes by which the process grew at its peak, and the result.

    Memory that the process frees before the end counts, too.
    """
    process = psutil.Process(pid)
    before = peak = process.memory_info().rss
    task = asyncio.ensure_future(work)
    while not task.done():
        peak = max(peak, process.memory_info().rss)
        await asyncio.sleep(0.005)
    return peak - before, await task
