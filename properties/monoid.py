"""What an aggregation is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from properties.occurrence import Occurrence

State: TypeAlias = Any
"""Plain JSON values."""


class Misfit(Exception):
    """The event's value does not fit the type of the property: it is skipped and counted."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A commutative monoid, as three functions; None stands for no event at all."""

    single: Callable[[Occurrence], State | None]
    """The state of one event; None where it has no value. Raises Misfit."""
    combine: Callable[[State, State], State]
    """The state of the events of two states. It may change and return the first one."""
    result: Callable[[State], list[str]]
    """The values of the property: none, one, or for an array property several."""
