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


def to_event_view(case: CaseEvent, number: int = 0, **columns: Any) -> EventView:
    """Return an event whose guid is its index in the table."""
    seconds, kind, data = case
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


def compute_values(
    source: dict[str, Any], events: list[CaseEvent], *, kind: str = "string", array: bool = False
) -> tuple[list[str], int]:
    """Return the values of a rule over these events, and how many did not fit its type."""
    found, skips = compute_values_and_skips(source, events, kind=kind, array=array)
    return found, skips[SkipReason.UNFIT]


def compute_values_and_skips(
    source: dict[str, Any],
    events: Sequence[CaseEvent],
    *,
    kind: str = "string",
    array: bool = False,
) -> tuple[list[str], Counter[SkipReason]]:
    """Return the values of a rule over these events, and how many it skipped for each reason."""
    rule = Rule.model_validate({"key": "tested", "type": kind, "array": array, "events": source})
    skips = Counter[SkipReason]()
    views = [to_event_view(event, number) for number, event in enumerate(events)]
    found = Engine([(1, rule)]).compute_from_events(
        views, day_of(START), None, lambda _, skip: skips.update((skip,))
    )
    return found["tested"], skips
