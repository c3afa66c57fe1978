"""What a fault is, and the table of them all."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from tests.chaos.stage import Stage


class Harm(NamedTuple):
    """Something that is broken now."""

    what: str
    """For the person who watches."""
    seconds: float = 0.0
    """How long it stays so."""


Fault = Callable[[Stage], AsyncIterator[Harm]]
"""Breaks something, yields what, and repairs it."""


class Entry(NamedTuple):
    """One line of the table."""

    name: str
    inflict: Callable[[Stage], AbstractAsyncContextManager[Harm]]
    needs: frozenset[str]
    """What it takes hold of: faults that need the same never meet."""
    weight: int
    """How often it comes, compared with the others."""
    quick: bool
    """Whether it is over, with all that follows from it, within seconds."""


TABLE: list[Entry] = []


def fault(name: str, *needs: str, weight: int = 1, quick: bool = True) -> Callable[[Fault], Fault]:
    """Put a fault into the table."""

    def put(inflict: Fault) -> Fault:
        TABLE.append(Entry(name, asynccontextmanager(inflict), frozenset(needs), weight, quick))
        return inflict

    return put
