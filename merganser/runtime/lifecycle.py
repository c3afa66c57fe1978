"""A process's life: run until the first SIGTERM or SIGINT, then finish; a second one quits."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

log = structlog.get_logger(__name__)

FINISH_SECONDS = 9.0
"""For what is in hand after the first signal (design §5: exit within 10 s). Past it, some server is
frozen; what is not committed or acknowledged is not ours to wait for, and nothing of it is lost."""

OPEN_FILES = 65_536
"""Enough for any number of connections that one process can serve."""

Result = TypeVar("Result")


class StoppedWhileWaiting(Exception):
    """The process is to stop, and the server that it waits for has not come back."""


class Stop:
    """Set once, when the process is to finish what it has in hand and leave."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ask the process to finish."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether the process is to finish."""
        return self._event.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait at most this long, forever with None; True once the process is to finish."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def unless(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """The work's result, or None if the process is to finish first; the work is cancelled."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # Work that is always done at once must not keep the process from finishing.
            return None if self._event.is_set() else working.result()
        finally:
            working.cancel()
            stopping.cancel()


def run(main: Callable[[Stop], Awaitable[None]]) -> None:
    """Run a process's main coroutine until it returns; signals set its `Stop`."""
    # Batches are many small objects without cycles. At its defaults, the collector would look
    # through all of them many times a batch, and find nothing.
    gc.set_threshold(100_000, 20, 50)
    _allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_with_signals(main))


def _allow_many_connections() -> None:
    """Many systems allow 1,024 open files at first, and more to who asks."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _with_signals(main: Callable[[Stop], Awaitable[None]]) -> None:
    stop = Stop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        loop.call_later(FINISH_SECONDS, give_up)

    def give_up() -> None:
        log.warning("stopped without waiting for a server that does not answer; nothing is lost")
        os._exit(0)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_loose_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await main(stop)
    except* StoppedWhileWaiting:
        log.info("stopped while Postgres or Kafka was away; nothing is lost")


def _loose_end(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody waited for; asyncio would show the tasks, with the values in them."""
    log.error(context["message"], exc_info=context.get("exception"))
