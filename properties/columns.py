"""How a rule reads its column of an event: as text, as a value of its type, or as several."""

from collections.abc import Callable
from typing import TypeAlias

from properties.monoid import Misfit
from properties.occurrence import Occurrence, Pick, pick
from properties.rules import Events, Rule
from properties.values import fit
from schemas import exact_json

Present: TypeAlias = Callable[[Occurrence], bool]
Spread: TypeAlias = Callable[[Occurrence], list[str] | None]

_DEEP = 32
"""Levels of nesting in an element of an array: as many as events may have."""


def raw(events: Events) -> Pick:
    """The text in the column."""
    return pick(events.column or "occurredAt")


def present(events: Events) -> Present:
    """Whether there is a text in the column; without a column every event counts."""
    if events.column is None:
        return lambda _: True
    read = raw(events)
    return lambda event: read(event) is not None


def fitting(rule: Rule, events: Events) -> Pick:
    """The value of the rule's type in the column. It raises Misfit."""
    read = raw(events)

    def value(event: Occurrence) -> str | None:
        text = read(event)
        if text is None:
            return None
        found = fit(rule.type, text)
        if found is None:
            raise Misfit
        return found

    return value


def spread(rule: Rule, events: Events) -> Spread:
    """For an array property the elements of a JSON array that fit; else the one value.

    It raises Misfit if there is something, and nothing that fits.
    """
    read, single = raw(events), fitting(rule, events)

    def one(event: Occurrence) -> list[str] | None:
        value = single(event)
        return None if value is None else [value]

    def several(event: Occurrence) -> list[str] | None:
        text = read(event)
        if text is None:
            return None
        elements = [fit(rule.type, element) for element in _elements(text)]
        found = [value for value in elements if value is not None]
        if elements and not found:
            raise Misfit
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
