"""What a process knows if a supervisor has started it."""

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Self

import structlog

from merganser.runtime.lifecycle import Stop

log = structlog.get_logger(__name__)

VARIABLE = "MERGANSER_WORKER"
"""Environment variable that hands a `Worker` over to the process. It is not a setting."""

STOP = b"s"
"""On the lifeline: finish the work at hand and exit."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Worker:
    """A process among several of the same supervisor; it inherits the file descriptors.

    Attributes:
        kind: "ingest", for example.
        number: 1, 2, ... among the workers of this kind. It keeps its number when it is restarted.
        ops: listening socket for /metrics, /healthz and /readyz.
        listeners: listening sockets that all workers of this kind share.
        lifeline: pipe from the supervisor. End of file means that the supervisor is dead.
    """

    kind: str
    number: int
    ops: int
    listeners: tuple[int, ...]
    lifeline: int

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return the worker that this process is, or None if it runs alone."""
        value = os.environ.pop(VARIABLE, None)
        return cls(**json.loads(value)) if value else None

    def to_environment(self) -> dict[str, str]:
        """Return the environment variable that hands it over."""
        return {VARIABLE: json.dumps(asdict(self))}

    @property
    def name(self) -> str:
        """Of the worker, in logs and metrics."""
        return f"{self.kind}-{self.number}"

    def ops_sockets(self) -> list[socket.socket]:
        """Return the sockets that the ops server listens on."""
        return [socket.socket(fileno=self.ops)]

    def shared_sockets(self) -> list[socket.socket]:
        """Return the sockets that the process' own server listens on."""
        return [socket.socket(fileno=listener) for listener in self.listeners]

    def follow_supervisor(self, stop: Stop) -> None:
        """Stop when the supervisor says so, and exit at once when it dies.

        A pipe instead of signals, because systemd, for example, sends SIGTERM to each process of a
        service: a worker would count that of the supervisor as the second, and quit at once.
        """
        if sys.platform == "linux":  # it also ends a worker whose event loop hangs
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        asyncio.get_running_loop().add_reader(self.lifeline, self._read_lifeline, stop)

    def _read_lifeline(self, stop: Stop) -> None:
        if os.read(self.lifeline, len(STOP)) != STOP:
            os._exit(1)
        if not stop.is_set():
            log.info("stopping", reason="the supervisor stops all workers")
            stop.set()
