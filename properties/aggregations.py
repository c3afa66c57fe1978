"""What rules remember of events: each aggregation a commutative monoid over plain JSON values.

An aggregation turns one event into a state, combines two states, and reads the result off a state.
To combine is associative and commutative, so neither the order of events nor how they are cut into
batches can matter, and an event that comes late costs as much as any other. States hold no more
than the cap of their aggregation, however many events there were. What these three functions
cannot do is take an event away: for that a profile is counted again.
"""

import hashlib
from bisect import insort
from collections.abc import Callable
from decimal import Decimal

from properties import columns, rules
from properties.differences import MICROSECONDS, diff
from properties.monoid import Aggregation, State
from properties.occurrence import Occurrence
from properties.rules import Events, Rule
from properties.values import EXACT, order, quotient, write_number

MOST_VALUES = 1_000
"""Values that `all values` has: the most recent ones."""
MOST_DISTINCT = 10_000
"""Where `distinct count` stops counting."""

FROM_ZERO = ("count", "distinct count")
"""They give 0 where there is nothing; the others then give no value."""

_LONG = 40
"""Characters beyond which `distinct count` remembers a value by its digest."""
_SECONDS = {"hour": 3_600, "day": 86_400, "week": 604_800}


def aggregation(rule: Rule, events: Events) -> Aggregation:
    """The functions for a rule whose source is events."""
    return _BY_NAME[events.aggregation](rule, events)


def _count(_: Rule, events: Events) -> Aggregation:
    """State: how many."""
    there = columns.present(events)
    return Aggregation(
        lambda event: 1 if there(event) else None,
        lambda one, other: one + other,
        lambda state: [str(state)],
    )


def _distinct_count(_: Rule, events: Events) -> Aggregation:
    """State: {value: 1}, or at the cap, where more cannot change the answer, the cap itself."""
    read = columns.raw(events)

    def single(event: Occurrence) -> State | None:
        value = read(event)
        return None if value is None else {_short(value): 1}

    def combine(one: State, other: State) -> State:
        if isinstance(one, int) or isinstance(other, int):
            return MOST_DISTINCT
        one.update(other)
        return one if len(one) < MOST_DISTINCT else MOST_DISTINCT

    return Aggregation(
        single,
        combine,
        lambda state: [str(state if isinstance(state, int) else len(state))],
    )


def _short(value: str) -> str:
    if len(value) <= _LONG:
        return value
    return "#" + hashlib.blake2b(value.encode(), digest_size=20).hexdigest()


def _sum(rule: Rule, events: Events) -> Aggregation:
    """State: the sum."""
    return Aggregation(columns.fitting(rule, events), _plus, lambda state: [state])


def _average(rule: Rule, events: Events) -> Aggregation:
    """State: [how many, their sum]."""
    read = columns.fitting(rule, events)
    return Aggregation(
        lambda event: None if (value := read(event)) is None else [1, value],
        lambda one, other: [one[0] + other[0], _plus(one[1], other[1])],
        lambda state: [quotient(Decimal(state[1]), Decimal(state[0]))],
    )


def _plus(one: str, other: str) -> str:
    return write_number(EXACT.add(Decimal(one), Decimal(other)))


def _rate(_: Rule, events: Events) -> Aggregation:
    """State: [how many, when the first, when the last]."""
    there = columns.present(events)
    unit = Decimal(_SECONDS[events.per or "day"])

    def result(state: State) -> list[str]:
        if events.window:
            seconds = Decimal(events.window * _SECONDS["day"])
        else:
            seconds = (state[2] - state[1]) / MICROSECONDS
        return [quotient(state[0] * unit, seconds)] if seconds else []

    return Aggregation(
        lambda event: [1, event.at, event.at] if there(event) else None,
        lambda one, other: [one[0] + other[0], min(one[1], other[1]), max(one[2], other[2])],
        result,
    )


def _least(rule: Rule, events: Events) -> Aggregation:
    """State: the smallest value."""
    return Aggregation(
        columns.fitting(rule, events),
        lambda one, other: min(one, other, key=lambda value: order(rule.type, value)),
        lambda state: [state],
    )


def _greatest(rule: Rule, events: Events) -> Aggregation:
    """State: the largest value."""
    return Aggregation(
        columns.fitting(rule, events),
        lambda one, other: max(one, other, key=lambda value: order(rule.type, value)),
        lambda state: [state],
    )


def _least_recent(rule: Rule, events: Events) -> Aggregation:
    return _at_one_end(columns.spread(rule, events), min)


def _most_recent(rule: Rule, events: Events) -> Aggregation:
    return _at_one_end(columns.spread(rule, events), max)


def _at_one_end(read: columns.Spread, choose: Callable[[State, State], State]) -> Aggregation:
    """State: [when, guid, values] of the first or of the last event that has a value."""
    return Aggregation(
        lambda event: None if (values := read(event)) is None else [event.at, event.guid, values],
        choose,
        lambda state: state[2],
    )


def _all_values(rule: Rule, events: Events) -> Aggregation:
    """State: [when, guid, place in the event's array, value] in order, the most recent ones."""
    read = columns.spread(rule, events)

    def single(event: Occurrence) -> State | None:
        entries = [
            [event.at, event.guid, place, value] for place, value in enumerate(read(event) or ())
        ]
        return entries[-MOST_VALUES:] or None

    def combine(one: State, other: State) -> State:
        for entry in other:
            insort(one, entry)
        del one[:-MOST_VALUES]
        return one

    return Aggregation(single, combine, lambda state: [value for _, _, _, value in state])


_BY_NAME: dict[rules.Aggregation, Callable[[Rule, Events], Aggregation]] = {
    "all values": _all_values,
    "most recent": _most_recent,
    "least recent": _least_recent,
    "count": _count,
    "distinct count": _distinct_count,
    "sum": _sum,
    "average": _average,
    "min": _least,
    "max": _greatest,
    "diff": diff,
    "rate": _rate,
}
