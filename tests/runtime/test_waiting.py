"""Waiting, trying again and stopping."""

import asyncio
from itertools import islice

from merganser.runtime.lifecycle import Stop
from merganser.runtime.retry import backoff


def test_delays_double_up_to_the_longest_with_some_chance() -> None:
    for _ in range(50):
        delays = list(islice(backoff(first=0.1, longest=5), 12))
        for n, delay in enumerate(delays):
            most = min(0.1 * 2**n, 5)
            assert most / 2 <= delay <= most


def test_no_two_wait_alike() -> None:
    assert len({next(backoff()) for _ in range(20)}) > 10


async def test_stop_is_waited_for() -> None:
    stop = Stop()
    assert not await stop.wait(0.01)
    asyncio.get_running_loop().call_soon(stop.set)
    assert await stop.wait()
    assert stop.is_set()


async def test_work_goes_on_unless_the_process_is_to_finish() -> None:
    stop, never = Stop(), asyncio.Event()

    async def work() -> str:
        return "done"

    assert await stop.unless(work()) == "done"
    asyncio.get_running_loop().call_soon(stop.set)
    assert await stop.unless(never.wait()) is None


async def test_work_that_is_always_done_at_once_does_not_keep_it_from_finishing() -> None:
    stop, queue = Stop(), asyncio.Queue[int]()
    for n in range(10):
        queue.put_nowait(n)
    assert await stop.unless(queue.get()) == 0
    stop.set()
    assert await stop.unless(queue.get()) is None


async def test_work_that_was_given_up_is_cancelled() -> None:
    stop, cancelled = Stop(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    asyncio.get_running_loop().call_soon(stop.set)
    await stop.unless(work())
    await asyncio.wait_for(cancelled.wait(), 5)
