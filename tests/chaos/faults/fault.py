"""What a fault is, and the list of all faults."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from tests.chaos.deployment import Deployment


class Injected(NamedTuple):
    """A fault that is active now."""

    description: str
    seconds: float = 0.0
    """How long it stays active."""


Injection = Callable[[Deployment], AsyncIterator[Injected]]
"""Breaks something, yields what, and repairs it."""


class Fault(NamedTuple):
    """One kind of fault."""

    name: str
    inject: Callable[[Deployment], AbstractAsyncContextManager[Injected]]
    resources: frozenset[str]
    """What it breaks: two faults with a common resource are never active at once."""
    weight: int
    """How often it is injected, compared with the others."""
    quick: bool
    """Whether the system recovers from it within seconds."""


FAULTS: list[Fault] = []


def fault(
    name: str, *resources: str, weight: int = 1, quick: bool = True
) -> Callable[[Injection], Injection]:
    """Return a decorator that adds a fault to the list."""

    def add(inject: Injection) -> Injection:
        context_manager = asynccontextmanager(inject)
        FAULTS.append(Fault(name, context_manager, frozenset(resources), weight, quick))
        return inject

    return add
