"""Start and stop of a process: a first SIGTERM or SIGINT stops it gracefully, a second at once."""

import asyncio
import ctypes
import gc
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
import uvloop

log = structlog.get_logger(__name__)

FINISH_SECONDS = 9.0
"""How long a process finishes its work after the first signal; it must exit within 10 s. A longer
wait means that a server hangs. Unfinished work is not committed, so nothing is lost."""

OPEN_FILES = 65_536
"""More than the connections that one process can serve."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""

_KEPT_BYTES = 32 << 20
"""The highest threshold that glibc accepts for mmap."""

Result = TypeVar("Result")


class StoppedWhileWaiting(Exception):
    """The process got the signal to stop while it waited for a server."""


class Stop:
    """An event that is set once, when the process should finish its work and exit."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Tell the process to stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Return whether the process has to stop."""
        return self._event.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the stop, at most this long; return whether the process should stop."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def unless(self, work: Awaitable[Result]) -> Result | None:
        """Return the work's result; if the process should stop first, cancel it and return None."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # The stop wins over finished work, or a loop of quick work would never stop.
            return None if self._event.is_set() else working.result()
        finally:
            working.cancel()
            stopping.cancel()


def run(main: Callable[[Stop], Awaitable[None]], finish_seconds: float = FINISH_SECONDS) -> None:
    """Run a process's main coroutine until it returns; signals set its `Stop`.

    Args:
        main: finishes its work when its `Stop` is set.
        finish_seconds: after the first signal; then the process exits with its work unfinished.
    """
    # Batches are many small objects without cycles. With default thresholds the garbage
    # collector would scan them many times per batch and find nothing.
    gc.set_threshold(100_000, 20, 50)
    _allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_with_signals(main, finish_seconds))


def keep_freed_memory() -> None:
    """Keep up to 32 MiB of freed memory for the next batch, where libc is glibc.

    glibc returns large blocks to the kernel, and each page that it gets again costs a page fault:
    half of what a request to Kafka costs.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _allow_many_connections() -> None:
    """Raise the limit of open files: on many systems it is 1,024 unless a process raises it."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _with_signals(main: Callable[[Stop], Awaitable[None]], finish_seconds: float) -> None:
    stop = Stop()
    signaled = False

    def on_signal(number: int) -> None:
        nonlocal signaled
        if signaled:
            os._exit(128 + number)
        signaled = True
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    async def give_up() -> None:
        await stop.wait()
        await asyncio.sleep(finish_seconds)
        log.warning("stopped without waiting for a server that does not answer; nothing is lost")
        os._exit(0)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    giving_up = asyncio.create_task(give_up())
    try:
        await main(stop)
    except* StoppedWhileWaiting:
        log.info("stopped while Postgres or Kafka was not available; nothing is lost")
    finally:
        giving_up.cancel()


def _log_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an unhandled error; asyncio's own handler would print tasks and the values in them."""
    log.error(context["message"], exc_info=context.get("exception"))
