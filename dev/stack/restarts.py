"""Restart processes that end unexpectedly."""

import logging
from typing import Protocol

from dev.stack.errors import StackError
from dev.stack.process import Process

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_STABLE_SECONDS = 60.0
"""After running this long, a process restarts with the first delay again."""

_log = logging.getLogger(__name__)


class Startable(Protocol):
    """The interface of Kafka, Postgres and the services."""

    @property
    def name(self) -> str:
        """The name in messages, and of the log."""

    process: Process | None

    def launch(self) -> Process:
        """Start it without waiting for it. Raises StackError if that fails."""

    def start(self) -> None:
        """Start it and return when it is ready. Raises StackError if that fails."""

    def stop(self) -> None:
        """Stop it, if it is running."""


class Restarter:
    """Restarts one process whenever it ends, with growing delays."""

    def __init__(self, target: Startable) -> None:
        self._target = target
        self._delay = _FIRST_DELAY_SECONDS
        self._launched_at = 0.0
        self._due: float | None = None

    def check(self, now: float) -> bool:
        """Restart the process if it has ended and the delay is over; return whether it did.

        `now` is the time in seconds.
        """
        process = self._target.process
        if process is not None and process.running:
            return False
        if self._due is None:
            if now - self._launched_at > _STABLE_SECONDS:
                self._delay = _FIRST_DELAY_SECONDS
            code = process.exit_code if process else None
            _log.error(
                "%s ended with code %s; restarting it in %.1f s",
                self._target.name,
                code,
                self._delay,
            )
            self._due = now + self._delay
            self._delay = min(2 * self._delay, _LONGEST_DELAY_SECONDS)
        if now < self._due:
            return False
        self._due = None
        self._launched_at = now
        try:
            self._target.launch()
        except StackError as error:
            _log.error("%s could not be restarted: %s", self._target.name, error)
            return False
        _log.info("%s was restarted", self._target.name)
        return True
