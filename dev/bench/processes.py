"""Run Merganser's processes with their own settings, and measure CPU time and memory."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from dev.stack import Servers
from dev.stack.ports import free_port
from dev.stack.services import answers
from merganser.runtime.settings import Settings

READY_SECONDS = 60


@contextmanager
def process(
    name: str,
    servers: Servers,
    settings: Settings,
    url: str,
    *,
    ready: bool = True,
    **more: str,
) -> Iterator[psutil.Process]:
    """Run a Merganser process for the length of a `with` block.

    Args:
        name: as in `merganser NAME`.
        servers: with the broker.
        settings: with the topics.
        url: of the database.
        ready: whether to wait until it is ready.
        more: other settings, by their names in lower case without MERGANSER_.
    """
    values = {
        "kafka_bootstrap": servers.kafka_bootstrap if servers.kafka else "",
        "database_url": url,
        "topic": settings.topic,
        "dead_topic": settings.dead_topic,
        "refused_topic": settings.refused_topic,
        "consumer_group": settings.topic,
        f"{name}_metrics_port": str(free_port()),
        "log_level": "warning",
        **more,
    }
    env = os.environ | {f"MERGANSER_{key.upper()}": value for key, value in values.items()}
    with child([sys.executable, "-m", "merganser.cli", name], env) as started:
        if ready:
            wait_until_ready(f"http://127.0.0.1:{values[f'{name}_metrics_port']}/readyz")
        yield started


@contextmanager
def child(command: list[str], env: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    """Run any process for the length of a `with` block."""
    started = subprocess.Popen(command, env=env)
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait()


def wait_until_ready(url: str) -> None:
    """Wait until a URL responds with 200."""
    deadline = time.monotonic() + READY_SECONDS
    while not answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(url)
        time.sleep(0.05)


def cpu_seconds(root: psutil.Process) -> float:
    """Return user and system CPU seconds of a process and all its descendants, also ended ones."""
    total = 0.0
    for member in (root, *root.children(recursive=True)):
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it ended after it was listed; its parent's time includes its time now
        total += times.user + times.system + times.children_user + times.children_system
    return total


def cpu_by_name(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU seconds of each process."""
    return {name: cpu_seconds(process) for name, process in processes.items()}


def cpu_each(
    start: Mapping[str, float], end: Mapping[str, float], events: float
) -> dict[str, float]:
    """Return the CPU microseconds of one event by process, between two calls of `cpu_by_name`."""
    return {name: (end[name] - start[name]) * 1e6 / events for name in start}


def peak_mebibytes(measured: psutil.Process) -> float:
    """Return the peak of a process's physical memory in MiB (Linux)."""
    status = Path(f"/proc/{measured.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
