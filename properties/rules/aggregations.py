"""What rules remember of events: each aggregation a commutative monoid over plain JSON values.

An aggregation turns one event into a state, combines two states, and reads the result off a state.
To combine is associative and commutative, so neither the order of events nor how they are cut into
batches can matter, and an event that comes late costs as much as any other. States hold no more
than the cap of their aggregation, however many events there were and however long their values.
What these three functions cannot do is take an event away: for that a profile is counted again.
"""

import base64
import hashlib
from bisect import insort
from collections.abc import Callable, Mapping
from decimal import Decimal
from heapq import nlargest

from merganser.rulebook import language
from merganser.rulebook.language import Events, Rule
from merganser.rulebook.values import (
    DAY,
    EXACT,
    LONGEST_VALUE,
    MOST_VALUES,
    order,
    quotient,
    size,
    write_number,
)
from properties.rules import columns
from properties.rules.differences import MICROSECONDS, diff
from properties.rules.event_view import Occurrence
from properties.rules.monoid import Aggregation, Skip, Skips, State, Trim

MOST_BYTES = 65_536
"""Bytes that the values of `all values` have together."""
MOST_DISTINCT = 10_000
"""Where `distinct count` stops counting."""

FROM_ZERO = ("count", "distinct count")
"""They give 0 where there is nothing; the others then give no value."""

_SHORT = 16
"""Bytes beyond which `distinct count` remembers a value by its digest."""
_DIGEST = 12
"""Bytes of a digest."""
_SECONDS = {"hour": 3_600, "day": 86_400, "week": 604_800}


def aggregation(rule: Rule, events: Events) -> Aggregation:
    """The functions for a rule whose source is events."""
    return _BY_NAME[events.aggregation](rule, events)


def _count(_: Rule, events: Events) -> Aggregation:
    """State: how many."""
    there = columns.present(events)
    return Aggregation(
        lambda event, _: 1 if there(event) else None,
        lambda one, other, _: one + other,
        lambda state: [str(state)],
    )


def _distinct_count(_: Rule, events: Events) -> Aggregation:
    """State: {value: 1}, or at the cap, where more cannot change the answer, the cap itself.

    With a window {value: the last day on which it was seen}, of the values seen last; those of one
    day in the order of their texts. It gives the smaller one of the cap and of how many there are,
    also after days have left: a value that a full state lacks was seen no later than all it has.
    """
    read = columns.raw(events)

    def single(event: Occurrence, skips: Skips) -> State | None:
        value = read(event, skips)
        return None if value is None else {_short(value): event.at // DAY if events.window else 1}

    def combine(one: State, other: State, skips: Skips) -> State:
        if isinstance(one, int) or isinstance(other, int):
            skips.append(Skip.CAPPED)
            return MOST_DISTINCT
        one.update(other)
        return one if len(one) < MOST_DISTINCT else MOST_DISTINCT

    def result(state: State) -> list[str]:
        return [str(state if isinstance(state, int) else min(len(state), MOST_DISTINCT))]

    if events.window:
        return Aggregation(single, _seen_last, result, _trimmed_values)
    return Aggregation(single, combine, result)


def _seen_last(one: dict[str, int], other: Mapping[str, int], skips: Skips) -> State:
    """A full state may become twice as large before it is cut, or each event would cost a cut."""
    for value, last in other.items():
        if len(one) >= MOST_DISTINCT and value not in one:
            skips.append(Skip.CAPPED)
        one[value] = max(last, one.get(value, last))
    return one if len(one) < 2 * MOST_DISTINCT else _cut(one)


def _cut(state: dict[str, int]) -> dict[str, int]:
    return dict(nlargest(MOST_DISTINCT, state.items(), key=lambda item: (item[1], item[0])))


def _trimmed_values(state: dict[str, int], day: int) -> tuple[State, int] | None:
    oldest = min(state.values())
    if oldest >= day and len(state) <= MOST_DISTINCT:
        return state, oldest
    kept = _cut({value: last for value, last in state.items() if last >= day})
    return (kept, min(kept.values())) if kept else None


def _short(value: str) -> str:
    """A short value itself, or `#` and a digest, which no short value is as long as."""
    if size(value) <= _SHORT:
        return value
    digest = hashlib.blake2b(value.encode(), digest_size=_DIGEST).digest()
    return "#" + base64.b64encode(digest).decode()


def _sum(rule: Rule, events: Events) -> Aggregation:
    """State: the sum."""
    return Aggregation(
        columns.fitting(rule, events),
        lambda one, other, _: _plus(one, other),
        lambda state: [state],
    )


def _average(rule: Rule, events: Events) -> Aggregation:
    """State: [how many, their sum]."""
    read = columns.fitting(rule, events)
    return Aggregation(
        lambda event, skips: None if (value := read(event, skips)) is None else [1, value],
        lambda one, other, _: [one[0] + other[0], _plus(one[1], other[1])],
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
        lambda event, _: [1, event.at, event.at] if there(event) else None,
        lambda one, other, _: [one[0] + other[0], min(one[1], other[1]), max(one[2], other[2])],
        result,
    )


def _least(rule: Rule, events: Events) -> Aggregation:
    return _extreme(rule, events, min)


def _greatest(rule: Rule, events: Events) -> Aggregation:
    return _extreme(rule, events, max)


def _extreme(rule: Rule, events: Events, choose: Callable[..., str]) -> Aggregation:
    """State: the smallest or the largest value."""
    return Aggregation(
        columns.fitting(rule, events, columns.longest_each_day(events)),
        lambda one, other, _: choose(one, other, key=lambda value: order(rule.type, value)),
        lambda state: [state],
    )


def _least_recent(rule: Rule, events: Events) -> Aggregation:
    return _at_one_end(columns.spread(rule, events, columns.longest_each_day(events)), min, None)


def _most_recent(rule: Rule, events: Events) -> Aggregation:
    """The last event is enough for a window, too: when it has left, so have those before."""

    def trim(state: State, day: int) -> tuple[State, int] | None:
        on = state[0] // DAY
        return (state, on) if on >= day else None

    return _at_one_end(columns.spread(rule, events), max, trim)


def _at_one_end(
    read: columns.Spread, choose: Callable[[State, State], State], trim: Trim | None
) -> Aggregation:
    """State: [when, guid, values] of the first or of the last event that has a value.

    Of more values than an array property has, it has the first ones.
    """

    def single(event: Occurrence, skips: Skips) -> State | None:
        values = read(event, skips)
        if values is None:
            return None
        skips += [Skip.CAPPED] * (len(values) - MOST_VALUES)
        return [event.at, event.guid, values[:MOST_VALUES]]

    return Aggregation(
        single, lambda one, other, _: choose(one, other), lambda state: state[2], trim
    )


def _all_values(rule: Rule, events: Events) -> Aggregation:
    """State: [bytes of the values, entries in order], an entry [when, guid, place, value].

    These are the most recent values, up to the cap, and up to the one with which they come to
    `MOST_BYTES` less the longest value: a value is among them if and only if those that are more
    recent are fewer than the cap and have fewer bytes than that. More events only add to what is
    more recent than a value, so what is left out once can never come back: to combine is
    associative and commutative. (To take the values as long as they fit is not: after a long value
    that is left out a shorter one, older still, might fit, if no trace of the longer one is kept.)
    What is left out is older than what is kept, so it would leave a window before it.
    """
    read = columns.spread(rule, events)

    def single(event: Occurrence, skips: Skips) -> State | None:
        values = read(event, skips)
        if values is None:
            return None
        entries = [[event.at, event.guid, place, value] for place, value in enumerate(values)]
        return _most_recent_ones([sum(map(size, values)), entries], skips)

    def combine(one: State, other: State, skips: Skips) -> State:
        one[0] += other[0]
        for entry in other[1]:
            insort(one[1], entry)
        return _most_recent_ones(one, skips)

    return Aggregation(
        single, combine, lambda state: [value for *_, value in state[1]], _trimmed_entries
    )


def _most_recent_ones(state: State, skips: Skips) -> State:
    total, entries = state
    beyond = 0
    for *_, value in entries:
        length = size(value)
        if len(entries) - beyond <= MOST_VALUES and total - length < MOST_BYTES - LONGEST_VALUE:
            break
        total -= length
        beyond += 1
    if beyond:
        skips += [Skip.CAPPED] * beyond
        del entries[:beyond]
    return [total, entries]


def _trimmed_entries(state: State, day: int) -> tuple[State, int] | None:
    _, entries = state
    oldest = entries[0][0] // DAY
    if oldest >= day:
        return state, oldest
    kept = [entry for entry in entries if entry[0] // DAY >= day]
    if not kept:
        return None
    return [sum(size(value) for *_, value in kept), kept], kept[0][0] // DAY


_BY_NAME: dict[language.Aggregation, Callable[[Rule, Events], Aggregation]] = {
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
