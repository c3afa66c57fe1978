"""How a rule reads its column of an event: as text, as a value of its type, or as several."""

from collections.abc import Callable
from typing import TypeAlias

from merganser.rulebook.language import Events, Rule
from merganser.rulebook.values import LONGEST_VALUE, fit, size, storable
from properties.rules.event_view import Has, Occurrence, has, pick
from properties.rules.monoid import Skip, Skips
from schemas import exact_json

Read: TypeAlias = Callable[[Occurrence, Skips], str | None]
Spread: TypeAlias = Callable[[Occurrence, Skips], list[str] | None]

BYTES_OF_ALL_DAYS = 65_536
"""Of the values that a rule with a window keeps for each of its days, unless they are short."""
SHORT = 256
"""Bytes of a value that any rule keeps for each of its days."""

_DEEP = 32
"""Levels of nesting in an element of an array: as many as events may have."""


def longest_each_day(events: Events) -> int:
    """Bytes of a value where a rule with a window keeps one for each day."""
    if events.window is None:
        return LONGEST_VALUE
    return min(LONGEST_VALUE, max(SHORT, BYTES_OF_ALL_DAYS // events.window))


def raw(events: Events, longest: int = LONGEST_VALUE) -> Read:
    """The text in the column, of up to so many bytes."""
    column = events.column or "occurredAt"
    read, there = pick(column), has(column)

    def text(event: Occurrence, skips: Skips) -> str | None:
        found = read(event)
        if found is None and there(event):
            skips.append(Skip.LONG)
        return found

    def shorter(event: Occurrence, skips: Skips) -> str | None:
        found = text(event, skips)
        if found is not None and size(found) > longest:
            skips.append(Skip.LONG)
            return None
        return found

    return text if longest == LONGEST_VALUE else shorter


def present(events: Events) -> Has:
    """Whether there is a text in the column; without a column every event counts."""
    return (lambda _: True) if events.column is None else has(events.column)


def fitting(rule: Rule, events: Events, longest: int = LONGEST_VALUE) -> Read:
    """The value of the rule's type in the column."""
    read = raw(events, longest)

    def value(event: Occurrence, skips: Skips) -> str | None:
        text = read(event, skips)
        if text is None:
            return None
        found = fit(rule.type, text)
        if found is None:
            skips.append(Skip.UNFIT)
        return found

    return value


def spread(rule: Rule, events: Events, longest: int = LONGEST_VALUE) -> Spread:
    """For an array property the elements of a JSON array that fit, else the one value.

    A list is never empty.
    """
    read, single = raw(events, longest), fitting(rule, events, longest)

    def one(event: Occurrence, skips: Skips) -> list[str] | None:
        value = single(event, skips)
        return None if value is None else [value]

    def several(event: Occurrence, skips: Skips) -> list[str] | None:
        text = read(event, skips)
        if text is None:
            return None
        elements = _elements(text)
        fits = [fit(rule.type, element) if storable(element) else None for element in elements]
        found = [value for value in fits if value is not None]
        skips += [Skip.UNFIT] * (len(elements) - len(found))
        return found or None

    return several if rule.array else one


def _elements(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        elements = exact_json.loads(text)
        return [exact_json.as_text(one, _DEEP) for one in elements if one is not None]
    except ValueError:  # a text that only begins like an array
        return [text]
