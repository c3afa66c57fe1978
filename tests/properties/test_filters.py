"""Each operator of a filter. The Grouparoo event system has the first six (docs/properties.md)."""

from typing import Any

import pytest

from merganser.rulebook.language import Filter
from properties.rules.filters import build_filter
from tests.properties.single_rule import CaseEvent, compute_values, to_event_view

# Operator, value of the filter, text in the event, whether the event meets the filter.
CASES: list[tuple[str, Any, str, bool]] = [
    ("equals", "a", "a", True),
    ("equals", "a", "A", False),
    ("equals", "1", "1.0", False),
    ("equals", 5, "5", True),
    ("equals", True, "true", True),
    ("does not equal", "a", "a", False),
    ("does not equal", "a", "A", True),
    ("contains", "MAIL", "a gmail b", True),
    ("contains", "x", "a gmail b", False),
    ("contains", "50%", "50% off", True),
    ("contains", "50%", "500 off", False),
    ("contains", "a_b", "axb", False),
    ("contains", "", "", True),
    ("does not contain", "MAIL", "a gmail b", False),
    ("does not contain", "a_b", "axb", True),
    ("greater than", "9", "10", True),
    ("greater than", "9", "9", False),
    ("greater than", "9", "9.0001", True),
    ("greater than", "9", "x", False),
    ("greater than", "9", "2026-01-01", False),
    ("greater than", "2026-01-31", "2026-01-31T00:00:00.000001Z", True),
    ("greater than", "2026-01-31", "2026-01-31T01:00:00+02:00", False),
    ("greater than", "2026-01-31", "99999999999", False),
    ("less than", "10", "9", True),
    ("less than", "10", "10", False),
    ("less than", "-1", "-1.5", True),
    ("less than", "2026-01-31", "2026-01-30T23:59:59Z", True),
    ("exists", None, "", True),
    ("one of", ["a", "b"], "b", True),
    ("one of", ["a", "b"], "c", False),
    ("one of", ["a", "b"], "B", False),
]


def filter_of(column: str, op: str, value: object) -> Filter:
    return Filter.model_validate(
        {"column": column, "op": op} | ({} if value is None else {"value": value})
    )


@pytest.mark.parametrize(("op", "value", "text", "met"), CASES)
def test_an_operator_compares_a_value(op: str, value: object, text: str, met: bool) -> None:  # noqa: FBT001 - a case
    meets = build_filter(filter_of("data.x", op, value))
    assert meets(to_event_view((0, "view", {"x": text}))) is met


@pytest.mark.parametrize(
    ("op", "value"), {(op, str(value)): (op, value) for op, value, _, _ in CASES}.values()
)
def test_a_missing_value_meets_no_filter(op: str, value: object) -> None:
    assert not build_filter(filter_of("data.x", op, value))(to_event_view((0, "view", {"y": "1"})))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("type", "view"),
        ("userId", "123"),
        ("ipAddress", "192.0.2.1"),
        ("occurredAt", "2026-06-01T12:00:00.000000Z"),
        ("data.x.y", "dotted"),
    ],
)
def test_a_filter_reads_every_column(column: str, value: str) -> None:
    event = to_event_view((0, "view", {"x.y": "dotted"}), user_id="123", ip_address="192.0.2.1")
    assert build_filter(filter_of(column, "equals", value))(event)
    assert not build_filter(filter_of(column, "does not equal", value))(event)


def test_an_event_must_meet_all_filters() -> None:
    source = {
        "type": "buy",
        "aggregation": "count",
        "filters": [
            {"column": "data.price", "op": "greater than", "value": 5},
            {"column": "data.price", "op": "less than", "value": 20},
            {"column": "data.shop", "op": "equals", "value": "north"},
        ],
    }
    events: list[CaseEvent] = [
        (0, "buy", {"price": "10", "shop": "north"}),
        (1, "buy", {"price": "10", "shop": "south"}),
        (2, "buy", {"price": "5", "shop": "north"}),
        (3, "buy", {"price": "20", "shop": "north"}),
        (4, "buy", {"shop": "north"}),
    ]
    assert compute_values(source, events, kind="integer") == (["1"], 0)
