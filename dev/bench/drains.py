"""A backlog drained by resolver processes, timed by the positions that they commit."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil
import psycopg

from dev.bench.processes import process
from dev.stack import Servers
from merganser.runtime.settings import Settings

_POSITIONS = 'SELECT coalesce(sum("nextOffset"), 0) FROM "consumerOffsets" WHERE topic = %s'

LOOK_SECONDS = 0.01


class Drained(NamedTuple):
    """How many events, in how many seconds."""

    events: int
    seconds: float

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
    """Drain it, measured from the first commit, which leaves out the start, to the last one.

    Args:
        running: the broker.
        settings: the topic.
        url: the database, which stands at the topic's start.
        events: in the topic.
        watch: called with the resolver at the start and at the end of the measurement.
    """
    with (
        psycopg.connect(url, autocommit=True) as database,
        process("resolver", running, settings, url, ready=False) as resolver,
    ):
        first, start = until(database, settings, 1)
        watch(resolver)
        last, end = until(database, settings, events)
        watch(resolver)
    return Drained(last - first, end - start)


def position(database: psycopg.Connection[tuple[Any, ...]], settings: Settings) -> int:
    """Events of the topic that were committed."""
    (reached,) = database.execute(_POSITIONS, (settings.topic,)).fetchone() or (0,)
    return int(reached)


def until(
    database: psycopg.Connection[tuple[Any, ...]], settings: Settings, goal: int
) -> tuple[int, float]:
    """The first position seen at or past this one, and when."""
    while True:
        reached = position(database, settings)
        if reached >= goal:
            return reached, time.perf_counter()
        time.sleep(LOOK_SECONDS)
