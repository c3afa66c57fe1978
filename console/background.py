"""Work that may take longer than a request: it goes on after the response."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import describe

log = structlog.get_logger(__name__)

MAX_TASKS = 4
"""Works at once: each has its own connections to Postgres."""

WAIT_SECONDS = 3.0
"""How long a request waits for the result."""

Result = TypeVar("Result")


class Background:
    """Runs work until it ends or the process stops, which cancels it.

    Args:
        stop: set when the process has to stop.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, name: str, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Start work, and wait for it as long as a request may.

        Args:
            name: of the work, for the log.
            work: can be canceled at any time, and raises only what a page can show.

        Returns:
            The result; None if the work goes on.

        Raises:
            HttpError: UNAVAILABLE, too much is running already.
            Exception: whatever the work raises in this time. Later errors go to the log.
        """
        if len(self._tasks) >= MAX_TASKS:
            work.close()
            raise HttpError(
                ErrorKind.UNAVAILABLE, "other work of the console is not finished: try again later"
            )
        task = asyncio.create_task(self._stop.unless(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        if task.done():
            return await task
        task.add_done_callback(partial(_log_error, name))
        return None


def _log_error(name: str, task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("work in the background failed", work=name, error=describe(error))
