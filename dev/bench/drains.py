"""Time how fast resolvers drain a backlog, by the offsets that they commit."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import psutil
import psycopg

from dev.bench import servers
from dev.bench.processes import cpu_by_name, cpu_each, process
from dev.stack import Servers
from merganser.runtime.settings import Settings

_OFFSETS = 'SELECT coalesce(sum("nextOffset"), 0) FROM "consumerOffsets" WHERE topic = %s'

POLL_SECONDS = 0.01


class Drained(NamedTuple):
    """The number of drained events, the seconds that it took, and the CPU of an event."""

    events: int
    seconds: float
    cpu: Mapping[str, float]
    """CPU microseconds of an event by process."""

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


def drain(
    running: Servers,
    settings: Settings,
    url: str,
    events: int,
    *,
    watch: Callable[[psutil.Process], None] = lambda _: None,
) -> Drained:
    """Drain a backlog; measure from the first commit, without the start-up, to the last one.

    Args:
        running: with the broker.
        settings: with the topic.
        url: of the database, whose offsets are at the topic's start.
        events: the number in the topic.
        watch: called with the resolver at the start and at the end of the measurement.
    """
    with (
        psycopg.connect(url, autocommit=True) as database,
        process("resolver", running, settings, url, ready=False) as resolver,
    ):
        processes = {"resolver": resolver, "postgres": servers.postgres(running)}
        first, start = wait_until_committed(database, settings, 1)
        used = cpu_by_name(processes)
        watch(resolver)
        last, end = wait_until_committed(database, settings, events)
        watch(resolver)
        cpu = cpu_each(used, cpu_by_name(processes), last - first)
    return Drained(last - first, end - start, cpu)


def committed(database: psycopg.Connection[tuple[Any, ...]], settings: Settings) -> int:
    """Return the number of committed events of the topic."""
    (count,) = database.execute(_OFFSETS, (settings.topic,)).fetchone() or (0,)
    return int(count)


def wait_until_committed(
    database: psycopg.Connection[tuple[Any, ...]], settings: Settings, goal: int
) -> tuple[int, float]:
    """Return the first number of committed events that reaches the goal, and its time."""
    while True:
        reached = committed(database, settings)
        if reached >= goal:
            return reached, time.perf_counter()
        time.sleep(POLL_SECONDS)
