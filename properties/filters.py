"""Conditions on events (docs/properties.md). What an event does not have meets none of them."""

from collections.abc import Callable
from operator import gt, lt
from typing import Any

from properties.occurrence import Occurrence, pick
from properties.rules import Filter
from properties.values import microseconds, number

Condition = Callable[[Occurrence], bool]
_Test = Callable[[str], bool]


def condition(filter_: Filter) -> Condition:
    """The filter as a function of an event."""
    read, test = pick(filter_.column), _test(filter_)

    def met(event: Occurrence) -> bool:
        value = read(event)
        return value is not None and test(value)

    return met


def _test(filter_: Filter) -> _Test:
    wanted = filter_.value
    if isinstance(wanted, tuple):
        allowed = frozenset(wanted)
        return lambda value: value in allowed
    if wanted is None:
        return lambda _: True  # `exists`: there is a value
    if filter_.op in ("greater than", "less than"):
        return _comparison(filter_.op, wanted)
    part = wanted.casefold()
    tests: dict[str, _Test] = {
        "equals": lambda value: value == wanted,
        "does not equal": lambda value: value != wanted,
        "contains": lambda value: part in value.casefold(),
        "does not contain": lambda value: part not in value.casefold(),
    }
    return tests[filter_.op]


def _comparison(op: str, wanted: str) -> _Test:
    """As numbers where a number is wanted, else as times; a value that is neither meets none."""
    compare = gt if op == "greater than" else lt
    read: Callable[[str], Any] = microseconds if number(wanted) is None else number
    bound = read(wanted)

    def met(value: str) -> bool:
        found = read(value)
        return found is not None and bool(compare(found, bound))

    return met
