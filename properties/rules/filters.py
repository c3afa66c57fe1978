"""The filters of rules as functions of an event (docs/properties.md).

An event without the column does not meet a filter on it. A text that is too long for a value still
meets `exists`.
"""

from collections.abc import Callable
from operator import gt, lt
from typing import Any

from merganser.rulebook.language import Filter, Operator
from merganser.rulebook.values import parse_number, parse_time
from properties.rules.event_view import EventTest, EventView, column_getter, column_test

_TextTest = Callable[[str], bool]


def build_filter(filter_: Filter) -> EventTest:
    """Return a function that tests whether an event meets the filter."""
    if filter_.value is None:  # `exists`
        return column_test(filter_.column)
    get, test = column_getter(filter_.column), _build_text_test(filter_.op, filter_.value)

    def meets(event: EventView) -> bool:
        text = get(event)
        return text is not None and test(text)

    return meets


def _build_text_test(operator: Operator, wanted: str | tuple[str, ...]) -> _TextTest:
    if isinstance(wanted, tuple):
        allowed = frozenset(wanted)
        return lambda text: text in allowed
    if operator in ("greater than", "less than"):
        return _build_comparison(operator, wanted)
    part = wanted.casefold()
    tests: dict[str, _TextTest] = {
        "equals": lambda text: text == wanted,
        "does not equal": lambda text: text != wanted,
        "contains": lambda text: part in text.casefold(),
        "does not contain": lambda text: part not in text.casefold(),
    }
    return tests[operator]


def _build_comparison(operator: str, wanted: str) -> _TextTest:
    """Compare numbers if the wanted value is a number, else times; other texts do not match."""
    compare = gt if operator == "greater than" else lt
    parse: Callable[[str], Any] = parse_time if parse_number(wanted) is None else parse_number
    bound = parse(wanted)

    def matches(text: str) -> bool:
        parsed = parse(text)
        return parsed is not None and bool(compare(parsed, bound))

    return matches
