"""One rule and a profile's few events, as plainly as a table of cases can say them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from merganser.rulebook.language import Rule
from properties.rules.engine import Engine, day_of
from properties.rules.event_view import EventView, SkipReason

START = datetime(2026, 6, 1, 12, tzinfo=UTC)

Said = tuple[float, str, Mapping[str, str | None]]
"""(seconds after START, type, data)."""


def occurrence(said: Said, number: int = 0, **columns: Any) -> EventView:
    """An event; its guid is its place in the table."""
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
    events: dict[str, Any], said: list[Said], *, kind: str = "string", array: bool = False
) -> tuple[list[str], int]:
    """What a rule with this source gives, and how many values did not fit its type."""
    found, skips = values_and_skips(events, said, kind=kind, array=array)
    return found, skips[SkipReason.UNFIT]


def values_and_skips(
    events: dict[str, Any],
    said: Sequence[Said],
    *,
    kind: str = "string",
    array: bool = False,
) -> tuple[list[str], Counter[SkipReason]]:
    """What a rule with this source gives, and what it skipped."""
    rule = Rule.model_validate({"key": "made", "type": kind, "array": array, "events": events})
    skips = Counter[SkipReason]()
    occurrences = [occurrence(one, number) for number, one in enumerate(said)]
    found = Engine([(1, rule)]).compute_from_events(
        occurrences, day_of(START), None, lambda _, skip: skips.update((skip,))
    )
    return found["made"], skips
