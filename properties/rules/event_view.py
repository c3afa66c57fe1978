"""An event as rules see it, and functions that read its columns.

A column is `type`, `userId`, `ipAddress`, `occurredAt` or `data.KEY`. The functions here take what
a rule says once and return a fast function of an event.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from merganser.rulebook.language import Events, Rule
from merganser.rulebook.values import MAX_VALUE_BYTES, coerce, format_time, is_storable, utf8_size
from schemas import exact_json


class EventView(NamedTuple):
    """An event of a profile. A profile's events are ordered by (`at`, `guid`)."""

    at: int
    """occurredAt in microseconds since 1970."""
    guid: str
    type: str
    user_id: str | None
    ip_address: str | None
    data: Mapping[str, str | None]
    """The keys of its data that rules use. None: the value is longer than `MAX_VALUE_BYTES`."""


class SkipReason(StrEnum):
    """Why a value is not part of a property."""

    UNFIT = "does not fit the type"
    TOO_LONG = "too long"
    CAPPED = "left out by a cap"


Skips: TypeAlias = list[SkipReason]
"""A list to which a function appends one reason for each value that it skips."""
GetText: TypeAlias = Callable[[EventView], str | None]
EventTest: TypeAlias = Callable[[EventView], bool]
ReadText: TypeAlias = Callable[[EventView, Skips], str | None]
ReadValues: TypeAlias = Callable[[EventView, Skips], list[str] | None]

ALL_DAYS_BYTES = 65_536
"""Bytes for the values of all days, for a rule that keeps one value for each day of a window."""
MIN_DAY_BYTES = 256
"""Bytes for the value of one day that such a rule has at least, however many days there are."""

_MAX_DEPTH = 32
"""Levels of nesting in an element of an array: as many as event data may have."""


def column_getter(column: str) -> GetText:
    """Return a function that reads a column; it returns None for a missing or too long text."""
    if column.startswith("data."):
        key = column.removeprefix("data.")
        return lambda event: event.data.get(key)
    return _GETTERS[column]


def column_test(column: str) -> EventTest:
    """Return a function that tests whether an event has a column with a text of any length."""
    if column.startswith("data."):
        key = column.removeprefix("data.")
        return lambda event: key in event.data
    if column == "ipAddress":
        return lambda event: event.ip_address is not None
    get = _GETTERS[column]
    return lambda event: get(event) is not None


def has_column(events: Events) -> EventTest:
    """Return a test for the rule's column. Every event passes if the rule has no column."""
    return (lambda _: True) if events.column is None else column_test(events.column)


def max_day_bytes(events: Events) -> int:
    """Return how many bytes a value may have in a rule that keeps one for each day of a window."""
    if events.window is None:
        return MAX_VALUE_BYTES
    return min(MAX_VALUE_BYTES, max(MIN_DAY_BYTES, ALL_DAYS_BYTES // events.window))


def text_reader(events: Events, max_bytes: int = MAX_VALUE_BYTES) -> ReadText:
    """Return a function that reads the text in the rule's column and skips what is too long."""
    column = events.column or "occurredAt"
    get, is_present = column_getter(column), column_test(column)

    def read(event: EventView, skips: Skips) -> str | None:
        text = get(event)
        if text is None and is_present(event):
            skips.append(SkipReason.TOO_LONG)
        return text

    def read_shorter(event: EventView, skips: Skips) -> str | None:
        text = read(event, skips)
        if text is not None and utf8_size(text) > max_bytes:
            skips.append(SkipReason.TOO_LONG)
            return None
        return text

    return read if max_bytes == MAX_VALUE_BYTES else read_shorter


def value_reader(rule: Rule, events: Events, max_bytes: int = MAX_VALUE_BYTES) -> ReadText:
    """Return a function that reads the value of the rule's type in its column."""
    read_text = text_reader(events, max_bytes)

    def read(event: EventView, skips: Skips) -> str | None:
        text = read_text(event, skips)
        if text is None:
            return None
        value = coerce(rule.type, text)
        if value is None:
            skips.append(SkipReason.UNFIT)
        return value

    return read


def values_reader(rule: Rule, events: Events, max_bytes: int = MAX_VALUE_BYTES) -> ReadValues:
    """Return a function that reads all values in the rule's column.

    For an array property these are the elements of a JSON array that fit the type, else it is the
    one value. The function returns None instead of an empty list.
    """
    read_text, read_value = text_reader(events, max_bytes), value_reader(rule, events, max_bytes)

    def read_single(event: EventView, skips: Skips) -> list[str] | None:
        value = read_value(event, skips)
        return None if value is None else [value]

    def read_array(event: EventView, skips: Skips) -> list[str] | None:
        text = read_text(event, skips)
        if text is None:
            return None
        elements = _split_array(text)
        coerced = [coerce(rule.type, item) if is_storable(item) else None for item in elements]
        values = [value for value in coerced if value is not None]
        skips += [SkipReason.UNFIT] * (len(elements) - len(values))
        return values or None

    return read_array if rule.array else read_single


def _split_array(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        elements = exact_json.loads(text)
        return [exact_json.as_text(item, _MAX_DEPTH) for item in elements if item is not None]
    except ValueError:  # the text only starts like an array
        return [text]


def _get_ip_address(event: EventView) -> str | None:
    """The table does not limit the length of this column."""
    address = event.ip_address
    return None if address is None or utf8_size(address) > MAX_VALUE_BYTES else address


_GETTERS: dict[str, GetText] = {
    "type": lambda event: event.type,
    "userId": lambda event: event.user_id,
    "ipAddress": _get_ip_address,
    "occurredAt": lambda event: format_time(event.at),
}
