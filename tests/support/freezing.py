"""Suspend a server, so that it keeps its connections and does not answer."""

import time
from contextlib import suppress

import psutil

from dev.stack.kafka import Kafka
from dev.stack.postgres import Postgres

HALTED = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def freeze(server: Kafka | Postgres) -> None:
    """Suspend the server, and return when it no longer answers.

    A signal stops a process thread by thread: a thread on another core may still answer a request
    that arrives just after the signal.
    """
    suspend(server.pid or 0)
    deadline = time.monotonic() + 15
    while server.ready():
        assert time.monotonic() < deadline, f"suspended, {server.name} still answers"


def thaw(server: Kafka | Postgres) -> None:
    """Let the server continue, unless it has exited meanwhile."""
    if server.running:
        resume(server.pid or 0)


def suspend(pid: int) -> None:
    """Suspend a process and its children: Postgres backends commit without their parent, too."""
    parent = psutil.Process(pid)
    _halt(parent)
    for child in parent.children(recursive=True):
        _halt(child)


def resume(pid: int) -> None:
    """Let a process and its children continue, if they are still running."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _halt(process: psutil.Process) -> None:
    deadline = time.monotonic() + 15
    with suppress(psutil.NoSuchProcess):
        process.suspend()
        while process.status() not in HALTED:
            assert time.monotonic() < deadline, f"suspended, {process.pid} still runs"
            time.sleep(0.001)
