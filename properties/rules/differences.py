"""Differences between two events of a profile, of numbers or of times in seconds."""

from collections.abc import Callable
from decimal import Decimal

from merganser.rulebook.language import Events, Rule
from merganser.rulebook.values import DAY, EXACT, Type, microseconds, number, write_number
from properties.rules import columns
from properties.rules.event_view import Occurrence
from properties.rules.monoid import Aggregation, Skip, Skips, State

MICROSECONDS = Decimal(1_000_000)

_Entry = Callable[[Occurrence, Skips], State | None]
"""[when, guid, value] of an event."""


def diff(rule: Rule, events: Events) -> Aggregation:
    """Last minus first, last minus previous, or what is between two event types."""
    read = _measure(events)

    def entry(event: Occurrence, skips: Skips) -> State | None:
        value = read(event, skips)
        return None if value is None else [event.at, event.guid, value]

    if events.between == "previous and last":
        return _last_two(rule.type, entry)
    return _two_ends(rule.type, entry, events)


def _last_two(kind: Type, entry: _Entry) -> Aggregation:
    """State: the last two events, in order. For a window, too: those before have left it first."""

    def trim(state: State, day: int) -> tuple[State, int] | None:
        kept = [one for one in state if one[0] // DAY >= day]
        return (kept, kept[0][0] // DAY) if kept else None

    return Aggregation(
        lambda event, skips: None if (one := entry(event, skips)) is None else [one],
        lambda one, other, _: sorted(one + other)[-2:],
        lambda state: _difference(kind, *state) if len(state) > 1 else [],
        trim,
    )


def _two_ends(kind: Type, entry: _Entry, events: Events) -> Aggregation:
    """State: [from, to], each an event or None."""
    start, end = events.from_, events.to
    first = max if start and start.take == "last" else min
    last = min if end and end.take == "first" else max

    def single(event: Occurrence, skips: Skips) -> State | None:
        one = entry(event, skips)
        if one is None:
            return None
        return [
            one if not start or event.type in start.type else None,
            one if not end or event.type in end.type else None,
        ]

    def result(state: State) -> list[str]:
        if not all(state) or (not start and state[0] == state[1]):  # a single event is no distance
            return []
        return _difference(kind, *state)

    return Aggregation(
        single,
        lambda one, other, _: [_chosen(first, one[0], other[0]), _chosen(last, one[1], other[1])],
        result,
    )


def _chosen(choose: Callable[[State, State], State], one: State, other: State) -> State:
    return choose(one, other) if one and other else one or other


def _measure(events: Events) -> columns.Read:
    """What the difference is taken of: a number, or of a time its seconds since 1970."""
    if events.column in (None, "occurredAt"):
        return lambda event, _: _seconds(event.at)
    read = columns.raw(events)

    def measure(event: Occurrence, skips: Skips) -> str | None:
        text = read(event, skips)
        if text is None:
            return None
        if events.of == "times":
            at = microseconds(text)
            found = None if at is None else _seconds(at)
        else:
            value = number(text)
            found = None if value is None else write_number(value)
        if found is None:
            skips.append(Skip.UNFIT)
        return found

    return measure


def _seconds(at: int) -> str:
    return write_number(at / MICROSECONDS)


def _difference(kind: Type, start: State, end: State) -> list[str]:
    """Whole numbers are rounded towards zero: 90 seconds and a half are 90 seconds."""
    value = EXACT.subtract(Decimal(end[2]), Decimal(start[2]))
    return [write_number(Decimal(int(value)) if kind == "integer" else value)]
