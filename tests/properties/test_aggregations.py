"""Each aggregation, on few events. test_engine.py compares all with their definition."""

from typing import Any

import pytest

from merganser.rulebook.values import MAX_ARRAY_VALUES
from properties.rules.aggregations import MAX_DISTINCT
from tests.properties.single_rule import CaseEvent, compute_values

DAY = 86_400
BUYS: list[CaseEvent] = [
    (30, "buy", {"price": "0.20", "name": "c"}),
    (10, "buy", {"price": "0.10", "name": "a"}),
    (20, "buy", {"price": "x", "name": "b"}),
    (40, "buy", {"name": "a"}),
    (25, "view", {"price": "99", "name": "z"}),
]
NAMES = {"type": "buy", "column": "data.name"}
PRICES = {"type": "buy", "column": "data.price"}

# Source, type, array -> values, and how many values did not fit.
CASES: list[tuple[dict[str, Any], str, bool, list[str], int]] = [
    ({**NAMES, "aggregation": "all values"}, "string", True, ["a", "b", "c", "a"], 0),
    ({**PRICES, "aggregation": "all values"}, "float", True, ["0.1", "0.2"], 1),
    ({**NAMES, "aggregation": "most recent"}, "string", False, ["a"], 0),
    ({**PRICES, "aggregation": "most recent"}, "float", False, ["0.2"], 1),
    ({**NAMES, "aggregation": "least recent"}, "string", False, ["a"], 0),
    ({**PRICES, "aggregation": "least recent"}, "string", False, ["0.10"], 0),
    ({**PRICES, "aggregation": "count"}, "integer", False, ["3"], 0),
    ({"type": "buy", "aggregation": "count"}, "integer", False, ["4"], 0),
    ({"type": ["buy", "view"], "aggregation": "count"}, "integer", False, ["5"], 0),
    ({**NAMES, "aggregation": "distinct count"}, "integer", False, ["3"], 0),
    ({**PRICES, "aggregation": "sum"}, "float", False, ["0.3"], 1),
    ({**PRICES, "aggregation": "average"}, "float", False, ["0.15"], 1),
    ({**PRICES, "aggregation": "min"}, "float", False, ["0.1"], 1),
    ({**PRICES, "aggregation": "max"}, "float", False, ["0.2"], 1),
    ({**NAMES, "aggregation": "max"}, "string", False, ["c"], 0),
    ({**NAMES, "column": "occurredAt", "aggregation": "min"}, "date", False, ["at 10"], 0),
    ({**PRICES, "aggregation": "diff"}, "float", False, ["0.1"], 1),
    ({**NAMES, "column": "occurredAt", "aggregation": "diff"}, "float", False, ["30"], 0),
    (
        {**NAMES, "column": "occurredAt", "aggregation": "diff", "between": "previous and last"},
        "float",
        False,
        ["10"],
        0,
    ),
    ({"type": "buy", "aggregation": "rate"}, "float", False, ["11520"], 0),
    ({"type": "buy", "aggregation": "rate", "per": "hour"}, "float", False, ["480"], 0),
    ({"type": "buy", "aggregation": "rate", "per": "week"}, "float", False, ["80640"], 0),
    (
        {"type": "buy", "aggregation": "rate", "window": 3},
        "float",
        False,
        ["1.333333333333"],
        0,
    ),
]


@pytest.mark.parametrize(
    ("source", "kind", "array", "expected", "unfit"),
    CASES,
    ids=[f"{source['aggregation']} {expected}" for source, _, _, expected, _ in CASES],
)
def test_an_aggregation_computes_its_values(
    source: dict[str, Any],
    kind: str,
    array: bool,  # noqa: FBT001 - a case
    expected: list[str],
    unfit: int,
) -> None:
    wanted = [value.replace("at 10", "2026-06-01T12:00:10.000000Z") for value in expected]
    assert compute_values(source, BUYS, kind=kind, array=array) == (wanted, unfit)


@pytest.mark.parametrize("source", [case[0] for case in CASES])
def test_without_events_only_counts_have_a_value(source: dict[str, Any]) -> None:
    counts = source["aggregation"] in ("count", "distinct count")
    array = source["aggregation"] == "all values"
    assert compute_values(source, [], kind="float" if not array else "string", array=array) == (
        ["0"] if counts else [],
        0,
    )


def test_most_recent_is_the_newest_value_not_the_value_of_the_newest_event() -> None:
    events: list[CaseEvent] = [
        (1, "visit", {"utm": "spring"}),
        (2, "visit", {}),
        (3, "visit", {"utm": "summer"}),
        (4, "visit", {}),
    ]
    source = {"type": "visit", "column": "data.utm"}
    assert compute_values({**source, "aggregation": "most recent"}, events) == (["summer"], 0)
    assert compute_values({**source, "aggregation": "least recent"}, events) == (["spring"], 0)


def test_events_of_the_same_time_are_ordered_by_guid() -> None:
    events: list[CaseEvent] = [
        (5, "visit", {"n": "1"}),
        (5, "visit", {"n": "2"}),
        (5, "visit", {"n": "3"}),
    ]
    source = {"type": "visit", "column": "data.n"}
    assert compute_values({**source, "aggregation": "most recent"}, events)[0] == ["3"]
    assert compute_values({**source, "aggregation": "least recent"}, events)[0] == ["1"]
    assert compute_values({**source, "aggregation": "diff"}, events, kind="integer")[0] == ["2"]


def test_sums_are_exact_where_floats_are_not() -> None:
    events: list[CaseEvent] = [(n, "buy", {"price": "0.1"}) for n in range(1000)]
    events += [(5, "buy", {"price": "9007199254740993"}), (6, "buy", {"price": "1e-20"})]
    source = {"type": "buy", "column": "data.price", "aggregation": "sum"}
    assert compute_values(source, events, kind="float")[0] == [
        "9007199254741093.00000000000000000001"
    ]


def test_an_array_property_takes_the_elements_of_an_array() -> None:
    events: list[CaseEvent] = [
        (2, "buy", {"skus": '["b",3,{"x":1.50},null]'}),
        (1, "buy", {"skus": "a"}),
        (3, "buy", {"skus": "[]"}),
        (4, "buy", {"skus": "[not JSON"}),
    ]
    source = {"type": "buy", "column": "data.skus", "aggregation": "all values"}
    assert compute_values(source, events, array=True) == (
        ["a", "b", "3", '{"x":1.50}', "[not JSON"],
        0,
    )
    source["aggregation"] = "least recent"
    assert compute_values(source, events[:1], array=True) == (["b", "3", '{"x":1.50}'], 0)
    assert compute_values(source, events[:1], array=True, kind="integer") == (["3"], 2)
    assert compute_values(source, events[:1], array=False) == (['["b",3,{"x":1.50},null]'], 0)


def test_all_values_are_the_most_recent_thousand() -> None:
    events: list[CaseEvent] = [(n, "buy", {"n": str(n)}) for n in range(MAX_ARRAY_VALUES + 5)]
    source = {"type": "buy", "column": "data.n", "aggregation": "all values"}
    assert compute_values(source, events, array=True)[0] == [
        str(n) for n in range(5, MAX_ARRAY_VALUES + 5)
    ]


def test_distinct_count_stops_at_its_cap() -> None:
    events: list[CaseEvent] = [(n, "buy", {"n": f"{n:060}"}) for n in range(MAX_DISTINCT + 5)]
    source = {"type": "buy", "column": "data.n", "aggregation": "distinct count"}
    assert compute_values(source, events[:9999] + events[:10], kind="integer")[0] == ["9999"]
    assert compute_values(source, events, kind="integer")[0] == ["10000"]


def diff_between(take_from: str, take_to: str, **more: Any) -> dict[str, Any]:
    return {
        "aggregation": "diff",
        "column": "occurredAt",
        "from": {"type": "sign-up", "take": take_from},
        "to": {"type": "purchase", "take": take_to},
        **more,
    }


JOURNEY: list[CaseEvent] = [
    (90.5, "purchase", {"total": "20", "on": "2026-03-01"}),
    (30, "sign-up", {"total": "1", "on": "2026-02-28T12:00Z"}),
    (10, "sign-up", {"total": "5", "on": "2026-01-01"}),
    (200, "purchase", {"total": "7.5", "on": "never"}),
]


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        (diff_between("first", "first"), "float", ["80.5"]),
        (diff_between("first", "first"), "integer", ["80"]),
        (diff_between("last", "first"), "float", ["60.5"]),
        (diff_between("first", "last"), "float", ["190"]),
        (diff_between("last", "last"), "float", ["170"]),
        (diff_between("first", "first", column="data.total"), "float", ["15"]),
        (diff_between("first", "last", column="data.total"), "float", ["2.5"]),
        (diff_between("last", "first", column="data.on", of="times"), "float", ["43200"]),
        (diff_between("last", "last", column="data.on", of="times"), "float", ["43200"]),
    ],
)
def test_diff_between_two_event_types(
    source: dict[str, Any], kind: str, expected: list[str]
) -> None:
    assert compute_values(source, JOURNEY, kind=kind)[0] == expected


def test_diff_needs_both_ends() -> None:
    assert compute_values(diff_between("first", "first"), JOURNEY[:1], kind="float") == ([], 0)
    assert compute_values(diff_between("first", "first"), JOURNEY[1:3], kind="float") == ([], 0)
    source = {"type": "buy", "column": "occurredAt", "aggregation": "diff"}
    assert compute_values(source, [(1, "buy", {})], kind="float") == ([], 0)
    assert compute_values(
        {**source, "between": "previous and last"}, [(1, "buy", {})], kind="float"
    ) == (
        [],
        0,
    )


def test_diff_can_be_negative() -> None:
    events: list[CaseEvent] = [(1, "sign-up", {"n": "1"}), (2, "sign-up", {"n": "-2.5"})]
    source = {"type": "sign-up", "column": "data.n", "aggregation": "diff"}
    assert compute_values(source, events, kind="float")[0] == ["-3.5"]
    assert compute_values(source, events, kind="integer")[0] == ["-3"]
    later: list[CaseEvent] = [(20, "sign-up", {}), (10, "purchase", {})]
    assert compute_values(diff_between("first", "first"), later, kind="float")[0] == ["-10"]


def test_a_window_is_whole_days_in_utc() -> None:
    """START is noon: 12 hours and a second earlier is yesterday."""
    events: list[CaseEvent] = [
        (0, "visit", {}),
        (-DAY / 2, "visit", {}),
        (-DAY / 2 - 1, "visit", {}),
        (-DAY * 1.5, "visit", {}),
        (-DAY * 1.5 - 1, "visit", {}),
        (DAY * 3, "visit", {}),
    ]
    source = {"type": "visit", "aggregation": "count"}
    assert compute_values({**source, "window": 1}, events, kind="integer")[0] == ["3"]
    assert compute_values({**source, "window": 2}, events, kind="integer")[0] == ["5"]
    assert compute_values({**source, "window": 3}, events, kind="integer")[0] == ["6"]


@pytest.mark.parametrize("aggregation", ["min", "max"])
def test_the_empty_text_is_a_value(aggregation: str) -> None:
    events: list[CaseEvent] = [(0, "buy", {"name": ""}), (1, "buy", {})]
    for source in (NAMES, {**NAMES, "window": 7}):
        assert compute_values({**source, "aggregation": aggregation}, events) == ([""], 0)
