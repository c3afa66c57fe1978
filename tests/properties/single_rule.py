"""Compute one rule for a few events of a profile, for tests that list cases in a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from merganser.rulebook.language import Rule
from properties.rules.engine import Engine, day_of
from properties.rules.event_view import EventView, SkipReason

START = datetime(2026, 6, 1, 12, tzinfo=UTC)

CaseEvent = tuple[float, str, Mapping[str, str | None]]
"""(seconds after START, type, data)."""


def to_event_view(said: CaseEvent, number: int = 0, **columns: Any) -> EventView:
    """Return an event whose guid is its index in the table."""
    seconds, kind, data = said
    at = START + timedelta(seconds=seconds)
    microseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return EventView(
        microseconds,
        f"evt_{number:03}",
        kind,
        columns.get("user_id"),
        columns.get("ip_address"),
        data,
    )


def values(
    events: dict[str, Any], said: list[CaseEvent], *, kind: str = "string", array: bool = False
) -> tuple[list[str], int]:
    """Return the values of a rule, and how many values did not fit its type."""
    found, skips = values_and_skips(events, said, kind=kind, array=array)
    return found, skips[SkipReason.UNFIT]


def values_and_skips(
    events: dict[str, Any],
    said: Sequence[CaseEvent],
    *,
    kind: str = "string",
    array: bool = False,
) -> tuple[list[str], Counter[SkipReason]]:
    """Return the values of a rule, and how many values it skipped for each reason."""
    rule = Rule.model_validate({"key": "made", "type": kind, "array": array, "events": events})
    skips = Counter[SkipReason]()
    views = [to_event_view(one, number) for number, one in enumerate(said)]
    found = Engine([(1, rule)]).compute_from_events(
        views, day_of(START), None, lambda _, skip: skips.update((skip,))
    )
    return found["made"], skips
