"""Hypothesis strategies for rules and events, with few types, keys, values and times."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st
from pydantic import ValidationError

from merganser.rulebook.language import AggregationName, Rule
from merganser.rulebook.values import MAX_VALUE_BYTES, PropertyType, utf8_size
from properties.rules.event_view import EventView
from tests.properties.reference import ReferenceEvent

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TODAY = (NOW - EPOCH).days

TYPES = ["view", "buy", "sign"]
COLUMNS = ["type", "userId", "ipAddress", "occurredAt", "data.price", "data.name", "data.at"]
PRICES = [
    "1",
    "2.50",
    "-3",
    "1e2",
    "0.10",
    "x",
    "[1, null, 2.50]",
    "[]",
    "12345678901234567890.1",
    "",
]
NAMES = [
    "a",
    "B",
    "b",
    "Ä",
    "[",
    '["a","x"]',
    "a@b.example",
    "https://a.example/",
    "true",
    "+49 30 1",
]
LONG = ["x" * 257, "x" * 16_384, "x" * 16_385, "ü" * 8_193, f'["a", "{"x" * 300}"]']
"""Values around the limits of their length in bytes."""
MOMENTS = ["2026-06-14", "2026-06-15T01:02:03.5Z", "2026-06-15T01:02:03+05:30", "never", "17"]

DATA = st.fixed_dictionaries(
    {},
    optional={
        "price": st.sampled_from(PRICES),
        "name": st.sampled_from([*NAMES, *NAMES, *LONG]),
        "at": st.sampled_from(MOMENTS),
    },
)
MOMENT = st.builds(
    lambda hours, micros: NOW + timedelta(hours=hours, microseconds=micros),
    st.integers(-100, 30),
    st.sampled_from([0, 0, 1, 500_000]),
)

FILTERS = st.one_of(
    st.fixed_dictionaries({"column": st.sampled_from(COLUMNS), "op": st.just("exists")}),
    st.fixed_dictionaries(
        {
            "column": st.sampled_from(COLUMNS),
            "op": st.sampled_from(["equals", "does not equal", "contains", "does not contain"]),
            "value": st.sampled_from([*NAMES, *PRICES, "view", "1"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "column": st.sampled_from(COLUMNS),
            "op": st.sampled_from(["greater than", "less than"]),
            "value": st.sampled_from(["0", "2.5", "2026-06-15", "2026-06-15T01:00Z"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "column": st.sampled_from(COLUMNS),
            "op": st.just("one of"),
            "value": st.lists(st.sampled_from([*NAMES, *PRICES]), min_size=1, max_size=3),
        }
    ),
)
SIDE = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "take": st.sampled_from(["first", "last"])}
)


@st.composite
def event_rules(draw: st.DrawFn, key: str = "tested") -> Rule:
    """Draw a valid rule over events."""
    aggregation = draw(st.sampled_from([*get_args(AggregationName), "diff"]))
    source: dict[str, Any] = {
        "aggregation": aggregation,
        "filters": draw(st.lists(FILTERS, max_size=2)),
        "window": draw(st.sampled_from([None, None, 1, 2, 3, 300])),
    }
    if aggregation not in ("count", "rate") or draw(st.booleans()):
        source["column"] = draw(st.sampled_from(COLUMNS))
    if aggregation == "rate":
        source["per"] = draw(st.sampled_from([None, "hour", "day", "week"]))
    if aggregation == "diff":
        source["of"] = draw(st.sampled_from([None, "numbers", "times"]))
    if aggregation == "diff" and draw(st.booleans()):
        source |= {"from": draw(SIDE), "to": draw(SIDE)}
    else:
        source["type"] = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=2))
        if aggregation == "diff":
            source["between"] = draw(st.sampled_from([None, "first and last", "previous and last"]))
    candidates = []
    for kind in get_args(PropertyType):
        for array in (False, True):
            try:
                candidates.append(Rule(key=key, type=kind, array=array, events=source))
            except ValidationError:
                continue
    return draw(st.sampled_from(candidates))


@st.composite
def reference_events(draw: st.DrawFn) -> ReferenceEvent:
    """Draw an event of a profile."""
    return ReferenceEvent(
        f"evt_{draw(st.integers(0, 999)):03}",
        draw(MOMENT),
        draw(st.sampled_from(TYPES)),
        draw(st.sampled_from([None, "u1"])),
        draw(st.sampled_from([None, "192.0.2.1", "192.0.2.2"])),
        draw(DATA),
    )


def to_event_view(event: ReferenceEvent) -> EventView:
    """Return the event in the form that rules read."""
    return EventView(
        (event.occurred_at - EPOCH) // timedelta(microseconds=1),
        event.guid,
        event.type,
        event.user_id,
        event.ip_address,
        {
            key: value if utf8_size(value) <= MAX_VALUE_BYTES else None
            for key, value in event.data.items()
        },
    )
