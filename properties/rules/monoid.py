"""What an aggregation is."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from properties.rules.event_view import Occurrence

State: TypeAlias = Any
"""Plain JSON values."""


class Skip(StrEnum):
    """Why a value is not, or no longer, part of a property."""

    UNFIT = "does not fit the type"
    LONG = "too long"
    CAPPED = "left out by a cap"


Skips: TypeAlias = list[Skip]
"""To which is added what was skipped."""


Trim: TypeAlias = Callable[[State, int], tuple[State, int] | None]
"""What is left of a state without what is before a day (in days since 1970, UTC), and the earliest
day that it has then; None where nothing is left. It may change the state."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A commutative monoid, as three functions; None stands for no event at all."""

    single: Callable[[Occurrence, Skips], State | None]
    """The state of one event; None where it has no value."""
    combine: Callable[[State, State, Skips], State]
    """The state of the events of two states. It may change and return the first one, unless each
    day of a window has a state of its own."""
    result: Callable[[State], list[str]]
    """The values of the property: none, one, or for an array property several."""
    trim: Trim | None = None
    """How one state serves all days of a window; None where each day needs a state of its own."""
