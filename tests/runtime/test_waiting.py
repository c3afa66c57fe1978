"""Delays between retries, and waiting until the process stops."""

import asyncio
from itertools import islice

from merganser.runtime.lifecycle import Stop
from merganser.runtime.retry import backoff


def test_delays_double_up_to_the_longest_with_jitter() -> None:
    for _ in range(50):
        delays = list(islice(backoff(first=0.1, longest=5), 12))
        for n, delay in enumerate(delays):
            longest = min(0.1 * 2**n, 5)
            assert longest / 2 <= delay <= longest


def test_delays_are_random() -> None:
    assert len({next(backoff()) for _ in range(20)}) > 10


async def test_wait_returns_when_stop_is_set() -> None:
    stop = Stop()
    assert not await stop.wait(0.01)
    asyncio.get_running_loop().call_soon(stop.set)
    assert await stop.wait()
    assert stop.is_set()


async def test_work_returns_unless_the_process_stops() -> None:
    stop, never = Stop(), asyncio.Event()

    async def work() -> str:
        return "done"

    assert await stop.unless(work()) == "done"
    asyncio.get_running_loop().call_soon(stop.set)
    assert await stop.unless(never.wait()) is None


async def test_a_stopping_process_starts_no_more_work() -> None:
    stop, queue = Stop(), asyncio.Queue[int]()
    for n in range(10):
        queue.put_nowait(n)
    assert await stop.unless(queue.get()) == 0
    stop.set()
    assert await stop.unless(queue.get()) is None


async def test_unfinished_work_is_cancelled_on_stop() -> None:
    stop, cancelled = Stop(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    asyncio.get_running_loop().call_soon(stop.set)
    await stop.unless(work())
    await asyncio.wait_for(cancelled.wait(), 5)
