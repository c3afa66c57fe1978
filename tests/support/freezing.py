"""A server that is there and does not answer: suspended, or behind a dead network."""

import os
import signal
import time

from stack.kafka import Kafka
from stack.postgres import Postgres


def freeze(server: Kafka | Postgres) -> None:
    """Suspend the server, and return when it no longer answers.

    A signal stops a process thread by thread: one on another core may still answer what came just
    after it.
    """
    os.kill(server.pid or 0, signal.SIGSTOP)
    deadline = time.monotonic() + 15
    while server.ready():
        assert time.monotonic() < deadline, f"suspended, {server.name} still answers"


def thaw(server: Kafka | Postgres) -> None:
    """Let the server go on, unless it has ended meanwhile."""
    if server.running:
        os.kill(server.pid or 0, signal.SIGCONT)
