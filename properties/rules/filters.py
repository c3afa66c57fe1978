"""Conditions on events (docs/properties.md).

What an event does not have meets none of them; a text that is too long to be a value `exists`.
"""

from collections.abc import Callable
from operator import gt, lt
from typing import Any

from merganser.rulebook.language import Filter, Operator
from merganser.rulebook.values import microseconds, number
from properties.rules.event_view import Occurrence, has, pick

Condition = Callable[[Occurrence], bool]
_Test = Callable[[str], bool]


def condition(filter_: Filter) -> Condition:
    """The filter as a function of an event."""
    if filter_.value is None:  # `exists`
        return has(filter_.column)
    read, test = pick(filter_.column), _test(filter_.op, filter_.value)

    def met(event: Occurrence) -> bool:
        value = read(event)
        return value is not None and test(value)

    return met


def _test(op: Operator, wanted: str | tuple[str, ...]) -> _Test:
    if isinstance(wanted, tuple):
        allowed = frozenset(wanted)
        return lambda value: value in allowed
    if op in ("greater than", "less than"):
        return _comparison(op, wanted)
    part = wanted.casefold()
    tests: dict[str, _Test] = {
        "equals": lambda value: value == wanted,
        "does not equal": lambda value: value != wanted,
        "contains": lambda value: part in value.casefold(),
        "does not contain": lambda value: part not in value.casefold(),
    }
    return tests[op]


def _comparison(op: str, wanted: str) -> _Test:
    """As numbers where a number is wanted, else as times; a value that is neither meets none."""
    compare = gt if op == "greater than" else lt
    read: Callable[[str], Any] = microseconds if number(wanted) is None else number
    bound = read(wanted)

    def met(value: str) -> bool:
        found = read(value)
        return found is not None and bool(compare(found, bound))

    return met
