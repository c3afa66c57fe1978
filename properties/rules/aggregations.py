"""The aggregations of rules: each is a commutative monoid over plain JSON values.

An aggregation turns one event into a state, combines two states into one, and returns the property
values of a state. Combining is associative and commutative, so neither the order of events nor
their batches change a result, and a late event costs as much as any other. The size of a state is
capped, however many events there are and however long their values. No function removes an event
from a state: when an event is deleted or moves, the profile is rebuilt (properties/rebuild.py).
"""

import base64
import hashlib
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from heapq import nlargest
from typing import Any, TypeAlias

from merganser.rulebook.language import AggregationName, Events, Rule
from merganser.rulebook.values import (
    DAY,
    EXACT,
    MAX_ARRAY_VALUES,
    MAX_VALUE_BYTES,
    PropertyType,
    divide,
    format_number,
    parse_number,
    parse_time,
    sort_key,
    utf8_size,
)
from properties.rules.event_view import (
    EventView,
    ReadText,
    ReadValues,
    SkipReason,
    Skips,
    has_column,
    max_day_bytes,
    text_reader,
    value_reader,
    values_reader,
)

State: TypeAlias = Any
"""Plain JSON values."""

Trim: TypeAlias = Callable[[State, int], tuple[State, int] | None]
"""Take a state and a day (days since 1970, UTC), and remove what is before the day.

Returns the state and its earliest remaining day, or None if nothing remains. It may change the
state in place.
"""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A commutative monoid as functions. None is the state without events."""

    from_event: Callable[[EventView, Skips], State | None]
    """Return the state of one event, or None if the event has no value."""
    combine: Callable[[State, State, Skips], State]
    """Return the state of the events of two states. It may change and return the first one, unless
    each day of a window has its own state."""
    values: Callable[[State], list[str]]
    """Return the property's values: none, one, or several for an array property."""
    trim: Trim | None = None
    """Lets one state serve a whole window. None: each day of a window needs its own state."""


ZERO_WITHOUT_EVENTS = ("count", "distinct count")
"""Aggregations that give 0 if there is no event; the others give no value."""
MAX_ALL_VALUES_BYTES = 65_536
"""Bytes of all values of `all values` together."""
MAX_DISTINCT = 10_000
"""The highest result of `distinct count`."""

_MAX_LITERAL_BYTES = 16
"""`distinct count` keeps a longer value as a digest."""
_DIGEST_BYTES = 12
_SECONDS = {"hour": 3_600, "day": 86_400, "week": 604_800}
_MICROSECONDS_PER_SECOND = Decimal(1_000_000)


def build_aggregation(rule: Rule, events: Events) -> Aggregation:
    """Return the aggregation of a rule whose source is events."""
    return _BUILDERS[events.aggregation](rule, events)


def _build_count(_: Rule, events: Events) -> Aggregation:
    """State: the count."""
    counts = has_column(events)
    return Aggregation(
        lambda event, _: 1 if counts(event) else None,
        lambda left, right, _: left + right,
        lambda state: [str(state)],
    )


def _build_distinct_count(_: Rule, events: Events) -> Aggregation:
    """State: {value: 1}, or `MAX_DISTINCT` itself once there are as many values.

    With a window: {value: the last day with the value}, for the values that occurred last; values
    of the same day are ordered by text. The result is the smaller one of `MAX_DISTINCT` and the
    true count, also after days have left the window: a value that a full state lacks did not occur
    later than any value in the state.
    """
    read = text_reader(events)

    def from_event(event: EventView, skips: Skips) -> State | None:
        value = read(event, skips)
        return None if value is None else {_shorten(value): event.at // DAY if events.window else 1}

    def combine(left: State, right: State, skips: Skips) -> State:
        if isinstance(left, int) or isinstance(right, int):
            skips.append(SkipReason.CAPPED)
            return MAX_DISTINCT
        left.update(right)
        return left if len(left) < MAX_DISTINCT else MAX_DISTINCT

    def values(state: State) -> list[str]:
        return [str(state if isinstance(state, int) else min(len(state), MAX_DISTINCT))]

    if events.window:
        return Aggregation(from_event, _combine_last_days, values, _trim_last_days)
    return Aggregation(from_event, combine, values)


def _combine_last_days(left: dict[str, int], right: Mapping[str, int], skips: Skips) -> State:
    """Cut a state only when it has twice its final size, so that not each event costs a cut."""
    for value, day in right.items():
        if len(left) >= MAX_DISTINCT and value not in left:
            skips.append(SkipReason.CAPPED)
        left[value] = max(day, left.get(value, day))
    return left if len(left) < 2 * MAX_DISTINCT else _cut_last_days(left)


def _cut_last_days(state: dict[str, int]) -> dict[str, int]:
    return dict(nlargest(MAX_DISTINCT, state.items(), key=lambda item: (item[1], item[0])))


def _trim_last_days(state: dict[str, int], day: int) -> tuple[State, int] | None:
    earliest = min(state.values())
    if earliest >= day and len(state) <= MAX_DISTINCT:
        return state, earliest
    remaining = _cut_last_days({value: last for value, last in state.items() if last >= day})
    return (remaining, min(remaining.values())) if remaining else None


def _shorten(value: str) -> str:
    """Return a short value as it is, else `#` and a digest, longer than any short value."""
    if utf8_size(value) <= _MAX_LITERAL_BYTES:
        return value
    digest = hashlib.blake2b(value.encode(), digest_size=_DIGEST_BYTES).digest()
    return "#" + base64.b64encode(digest).decode()


def _build_sum(rule: Rule, events: Events) -> Aggregation:
    """State: the sum."""
    return Aggregation(
        value_reader(rule, events),
        lambda left, right, _: add_numbers(left, right),
        lambda state: [state],
    )


def _build_average(rule: Rule, events: Events) -> Aggregation:
    """State: [count, sum]."""
    read = value_reader(rule, events)
    return Aggregation(
        lambda event, skips: None if (value := read(event, skips)) is None else [1, value],
        lambda left, right, _: [left[0] + right[0], add_numbers(left[1], right[1])],
        lambda state: [divide(Decimal(state[1]), Decimal(state[0]))],
    )


def add_numbers(left: str, right: str) -> str:
    """Return the exact sum of two numbers."""
    return format_number(EXACT.add(Decimal(left), Decimal(right)))


def _build_rate(_: Rule, events: Events) -> Aggregation:
    """State: [count, time of the first event, time of the last event]."""
    counts = has_column(events)
    unit = Decimal(_SECONDS[events.per or "day"])

    def values(state: State) -> list[str]:
        if events.window:
            seconds = Decimal(events.window * _SECONDS["day"])
        else:
            seconds = (state[2] - state[1]) / _MICROSECONDS_PER_SECOND
        return [divide(state[0] * unit, seconds)] if seconds else []

    return Aggregation(
        lambda event, _: [1, event.at, event.at] if counts(event) else None,
        lambda left, right, _: [
            left[0] + right[0],
            min(left[1], right[1]),
            max(left[2], right[2]),
        ],
        values,
    )


def _build_min(rule: Rule, events: Events) -> Aggregation:
    return _build_extreme(rule, events, min)


def _build_max(rule: Rule, events: Events) -> Aggregation:
    return _build_extreme(rule, events, max)


def _build_extreme(rule: Rule, events: Events, choose: Callable[..., str]) -> Aggregation:
    """State: the smallest or the largest value."""
    return Aggregation(
        value_reader(rule, events, max_day_bytes(events)),
        lambda left, right, _: choose(left, right, key=lambda value: sort_key(rule.type, value)),
        lambda state: [state],
    )


def _build_least_recent(rule: Rule, events: Events) -> Aggregation:
    return _build_first_or_last(values_reader(rule, events, max_day_bytes(events)), min, None)


def _build_most_recent(rule: Rule, events: Events) -> Aggregation:
    """The last event is enough for a window: all others leave the window before it."""

    def trim(state: State, day: int) -> tuple[State, int] | None:
        last = state[0] // DAY
        return (state, last) if last >= day else None

    return _build_first_or_last(values_reader(rule, events), max, trim)


def _build_first_or_last(
    read: ReadValues, choose: Callable[[State, State], State], trim: Trim | None
) -> Aggregation:
    """State: [time, guid, values] of the first or the last event that has a value.

    Of more than `MAX_ARRAY_VALUES` values the first ones are kept.
    """

    def from_event(event: EventView, skips: Skips) -> State | None:
        values = read(event, skips)
        if values is None:
            return None
        skips += [SkipReason.CAPPED] * (len(values) - MAX_ARRAY_VALUES)
        return [event.at, event.guid, values[:MAX_ARRAY_VALUES]]

    return Aggregation(
        from_event, lambda left, right, _: choose(left, right), lambda state: state[2], trim
    )


def _build_all_values(rule: Rule, events: Events) -> Aggregation:
    """State: [bytes of the values, entries in order], an entry is [time, guid, index, value].

    The state has the most recent values. A value belongs to it if and only if fewer than
    `MAX_ARRAY_VALUES` values are more recent, and these have fewer than `MAX_ALL_VALUES_BYTES` -
    `MAX_VALUE_BYTES` bytes. More events only add more recent values, so a value that is left out
    never returns: this makes combining associative and commutative. (Filling the remaining bytes
    with shorter, older values would depend on longer values that are already forgotten.) What is
    left out is older than the rest, so it would leave a window first.
    """
    read = values_reader(rule, events)

    def from_event(event: EventView, skips: Skips) -> State | None:
        values = read(event, skips)
        if values is None:
            return None
        entries = [[event.at, event.guid, index, value] for index, value in enumerate(values)]
        return _keep_most_recent([sum(map(utf8_size, values)), entries], skips)

    def combine(left: State, right: State, skips: Skips) -> State:
        left[0] += right[0]
        for entry in right[1]:
            insort(left[1], entry)
        return _keep_most_recent(left, skips)

    return Aggregation(
        from_event, combine, lambda state: [value for *_, value in state[1]], _trim_entries
    )


def _keep_most_recent(state: State, skips: Skips) -> State:
    total, entries = state
    surplus = 0
    for *_, value in entries:
        size = utf8_size(value)
        if (
            len(entries) - surplus <= MAX_ARRAY_VALUES
            and total - size < MAX_ALL_VALUES_BYTES - MAX_VALUE_BYTES
        ):
            break
        total -= size
        surplus += 1
    if surplus:
        skips += [SkipReason.CAPPED] * surplus
        del entries[:surplus]
    return [total, entries]


def _trim_entries(state: State, day: int) -> tuple[State, int] | None:
    _, entries = state
    earliest = entries[0][0] // DAY
    if earliest >= day:
        return state, earliest
    remaining = [entry for entry in entries if entry[0] // DAY >= day]
    if not remaining:
        return None
    size = sum(utf8_size(value) for *_, value in remaining)
    return [size, remaining], remaining[0][0] // DAY


_ReadEntry: TypeAlias = Callable[[EventView, Skips], State | None]
"""Return [time, guid, number] of an event."""


def _build_diff(rule: Rule, events: Events) -> Aggregation:
    """Last minus first, last minus previous, or the difference between two event types."""
    read_number = _diff_number_reader(events)

    def read_entry(event: EventView, skips: Skips) -> State | None:
        number = read_number(event, skips)
        return None if number is None else [event.at, event.guid, number]

    if events.between == "previous and last":
        return _build_diff_of_last_two(rule.type, read_entry)
    return _build_diff_of_two_ends(rule.type, read_entry, events)


def _build_diff_of_last_two(type_: PropertyType, read_entry: _ReadEntry) -> Aggregation:
    """State: the last two events, in order. They serve a window: earlier ones leave it first."""

    def trim(state: State, day: int) -> tuple[State, int] | None:
        remaining = [entry for entry in state if entry[0] // DAY >= day]
        return (remaining, remaining[0][0] // DAY) if remaining else None

    return Aggregation(
        lambda event, skips: None if (entry := read_entry(event, skips)) is None else [entry],
        lambda left, right, _: sorted(left + right)[-2:],
        lambda state: _subtract(type_, *state) if len(state) > 1 else [],
        trim,
    )


def _build_diff_of_two_ends(
    type_: PropertyType, read_entry: _ReadEntry, events: Events
) -> Aggregation:
    """State: [from, to], each an event or None."""
    start, end = events.from_, events.to
    choose_start = max if start and start.take == "last" else min
    choose_end = min if end and end.take == "first" else max

    def from_event(event: EventView, skips: Skips) -> State | None:
        entry = read_entry(event, skips)
        if entry is None:
            return None
        return [
            entry if not start or event.type in start.type else None,
            entry if not end or event.type in end.type else None,
        ]

    def values(state: State) -> list[str]:
        if not all(state) or (not start and state[0] == state[1]):  # a single event
            return []
        return _subtract(type_, *state)

    return Aggregation(
        from_event,
        lambda left, right, _: [
            _choose(choose_start, left[0], right[0]),
            _choose(choose_end, left[1], right[1]),
        ],
        values,
    )


def _choose(choose: Callable[[State, State], State], left: State, right: State) -> State:
    return choose(left, right) if left and right else left or right


def _diff_number_reader(events: Events) -> ReadText:
    """Return a function that reads a number, or the seconds since 1970 of a time."""
    if events.column in (None, "occurredAt"):
        return lambda event, _: _to_seconds(event.at)
    read_text = text_reader(events)

    def read(event: EventView, skips: Skips) -> str | None:
        text = read_text(event, skips)
        if text is None:
            return None
        if events.of == "times":
            time = parse_time(text)
            result = None if time is None else _to_seconds(time)
        else:
            number = parse_number(text)
            result = None if number is None else format_number(number)
        if result is None:
            skips.append(SkipReason.UNFIT)
        return result

    return read


def _to_seconds(microseconds: int) -> str:
    return format_number(microseconds / _MICROSECONDS_PER_SECOND)


def _subtract(type_: PropertyType, start: State, end: State) -> list[str]:
    """Return the difference; an integer property rounds toward zero: 90.5 seconds are 90."""
    value = EXACT.subtract(Decimal(end[2]), Decimal(start[2]))
    return [format_number(Decimal(int(value)) if type_ == "integer" else value)]


_BUILDERS: dict[AggregationName, Callable[[Rule, Events], Aggregation]] = {
    "all values": _build_all_values,
    "most recent": _build_most_recent,
    "least recent": _build_least_recent,
    "count": _build_count,
    "distinct count": _build_distinct_count,
    "sum": _build_sum,
    "average": _build_average,
    "min": _build_min,
    "max": _build_max,
    "diff": _build_diff,
    "rate": _build_rate,
}
