"""Rules give the values of the Grouparoo event system, except where that system is wrong.

`compute_like_grouparoo` repeats what its source code does with the events of one type: it takes
the key's value of each event whose other key meets the filter. Numbers are floats there, and
"greater than" compares texts; so these events have numbers of equally many digits that floats
represent exactly. docs/properties.md lists where that system is wrong; the last tests show it.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.single_rule import CaseEvent, compute_values

AGGREGATIONS: dict[str, Callable[[Sequence[str]], Any]] = {
    "all values": list,
    "most recent": lambda rows: rows[-1] if rows else None,
    "least recent": lambda rows: rows[0] if rows else None,
    "average": lambda rows: sum(map(float, rows)) / len(rows) if rows else None,
    "count": len,
    "sum": lambda rows: sum(map(float, rows)) if rows else None,
    "min": lambda rows: min(map(float, rows), default=None),
    "max": lambda rows: max(map(float, rows), default=None),
}

OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda value, wanted: value == wanted,
    "does not equal": lambda value, wanted: value != wanted,
    "contains": lambda value, wanted: wanted.lower() in value.lower(),
    "does not contain": lambda value, wanted: wanted.lower() not in value.lower(),
    "greater than": lambda value, wanted: value > wanted,
    "less than": lambda value, wanted: value < wanted,
}

TYPES = {"all values": "string", "most recent": "string", "least recent": "string"}

NUMBERS = st.integers(100, 999).map(lambda quarters: f"{quarters / 4:06.2f}")
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=16)


def compute_like_grouparoo(
    aggregation: str, op: str, wanted: str, events: Sequence[CaseEvent]
) -> Any:
    pairs = [(data["key"] or "", data["other"] or "") for _, _, data in sorted(events)]
    rows = [key for key, other in pairs if OPERATORS[op](other, wanted)]
    return AGGREGATIONS[aggregation](rows)


def compute_with_rule(
    aggregation: str, op: str | None, wanted: str, events: list[CaseEvent]
) -> list[str]:
    filters = [{"column": "data.other", "op": op, "value": wanted}] if op else []
    source = {
        "type": "buy",
        "aggregation": aggregation,
        "column": "data.key",
        "filters": filters,
    }
    kind, array = TYPES.get(aggregation, "float"), aggregation == "all values"
    return compute_values(source, events, kind=kind, array=array)[0]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(pairs=PAIRS, wanted=NUMBERS)
def test_each_aggregation_matches_grouparoo_under_each_operator(
    aggregation: str, op: str, pairs: list[tuple[str, str]], wanted: str
) -> None:
    events: list[CaseEvent] = [
        (second, "buy", {"key": key, "other": other}) for second, (key, other) in enumerate(pairs)
    ]
    expected = compute_like_grouparoo(aggregation, op, wanted, events)
    found = compute_with_rule(aggregation, op, wanted, events)
    if aggregation in TYPES:
        assert found == (expected if isinstance(expected, list) else [expected] * bool(expected))
    elif expected is None:
        assert found == []
    else:
        assert [Decimal(value) for value in found] == [_to_twelve_digits(expected)]


def _to_twelve_digits(value: float) -> Decimal:
    return Decimal(value).quantize(Decimal("1e-12"))


def buys(*keys: str | None) -> list[CaseEvent]:
    return [
        (second, "buy", {"other": "x"} | ({"key": key} if key is not None else {}))
        for second, key in enumerate(keys)
    ]


def test_an_event_without_the_key_does_not_hide_the_most_recent_value() -> None:
    assert compute_with_rule("most recent", None, "", buys("a", None)) == ["a"]
    assert compute_with_rule("least recent", None, "", buys(None, "b")) == ["b"]


@pytest.mark.parametrize("aggregation", ["sum", "average", "min", "max"])
def test_an_aggregation_of_no_values_is_not_zero(aggregation: str) -> None:
    assert compute_with_rule(aggregation, None, "", buys(None)) == []


def test_sums_are_exact() -> None:
    assert 0.1 + 0.2 != 0.3
    assert compute_with_rule("sum", None, "", buys("0.1", "0.2")) == ["0.3"]


def test_a_text_that_is_not_a_number_is_skipped() -> None:
    assert compute_with_rule("sum", None, "", buys("1", "free", "2")) == ["3"]


def meets(op: str, value: str, wanted: str) -> bool:
    events: list[CaseEvent] = [(0, "buy", {"key": "1", "other": value})]
    return compute_with_rule("count", op, wanted, events) == ["1"]


def test_nine_is_less_than_ten() -> None:
    assert OPERATORS["greater than"]("9", "10")
    assert not meets("greater than", "9", "10")
    assert meets("less than", "9", "10")


def test_wildcard_characters_match_themselves() -> None:
    assert not meets("contains", "100 off", "100%")
    assert meets("contains", "100% off", "100%")
    assert not meets("contains", "ab", "a_")


def test_several_filters_must_all_be_met() -> None:
    source = {
        "type": "buy",
        "aggregation": "count",
        "filters": [
            {"column": "data.a", "op": "equals", "value": "1"},
            {"column": "data.b", "op": "equals", "value": "1"},
        ],
    }
    events: list[CaseEvent] = [
        (0, "buy", {"a": "1", "b": "1"}),
        (1, "buy", {"a": "1", "b": "2"}),
        (2, "buy", {"a": "2", "b": "1"}),
    ]
    assert compute_values(source, events, kind="integer")[0] == ["1"]
