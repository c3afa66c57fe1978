"""The same answers as the Grouparoo event system gives on the same events, save where it is wrong.

`theirs` is what its source does, on rows of one event type: of each event the aggregated key's
value, where the filter's key has a value that meets the filter. Numbers are floats there, and
greater and less compare texts, so the events here have numbers of as many digits each that floats
hold exactly. docs/properties.md lists where it is wrong; the last tests show it, line by line.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.single_rule import CaseEvent, values

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
EVENTS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=16)


def theirs(aggregation: str, op: str, wanted: str, said: Sequence[CaseEvent]) -> Any:
    pairs = [(data["key"] or "", data["other"] or "") for _, _, data in sorted(said)]
    rows = [key for key, other in pairs if OPERATORS[op](other, wanted)]
    return AGGREGATIONS[aggregation](rows)


def ours(aggregation: str, op: str | None, wanted: str, said: list[CaseEvent]) -> list[str]:
    filters = [{"column": "data.other", "op": op, "value": wanted}] if op else []
    source = {
        "type": "buy",
        "aggregation": aggregation,
        "column": "data.key",
        "filters": filters,
    }
    kind, array = TYPES.get(aggregation, "float"), aggregation == "all values"
    return values(source, said, kind=kind, array=array)[0]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(events=EVENTS, wanted=NUMBERS)
def test_every_aggregation_under_every_operator(
    aggregation: str, op: str, events: list[tuple[str, str]], wanted: str
) -> None:
    said: list[CaseEvent] = [
        (second, "buy", {"key": key, "other": other}) for second, (key, other) in enumerate(events)
    ]
    expected = theirs(aggregation, op, wanted, said)
    found = ours(aggregation, op, wanted, said)
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


def test_the_most_recent_value_is_not_lost_to_an_event_without_the_key() -> None:
    assert ours("most recent", None, "", buys("a", None)) == ["a"]
    assert ours("least recent", None, "", buys(None, "b")) == ["b"]


@pytest.mark.parametrize("aggregation", ["sum", "average", "min", "max"])
def test_nothing_is_not_zero(aggregation: str) -> None:
    assert ours(aggregation, None, "", buys(None)) == []


def test_sums_are_exact() -> None:
    assert 0.1 + 0.2 != 0.3
    assert ours("sum", None, "", buys("0.1", "0.2")) == ["0.3"]


def test_one_text_that_is_no_number_costs_only_itself() -> None:
    assert ours("sum", None, "", buys("1", "free", "2")) == ["3"]


def met(op: str, value: str, wanted: str) -> bool:
    said: list[CaseEvent] = [(0, "buy", {"key": "1", "other": value})]
    return ours("count", op, wanted, said) == ["1"]


def test_nine_is_less_than_ten() -> None:
    assert OPERATORS["greater than"]("9", "10")
    assert not met("greater than", "9", "10")
    assert met("less than", "9", "10")


def test_wildcards_are_themselves() -> None:
    assert not met("contains", "100 off", "100%")
    assert met("contains", "100% off", "100%")
    assert not met("contains", "ab", "a_")


def test_all_filters_must_be_met() -> None:
    source = {
        "type": "buy",
        "aggregation": "count",
        "filters": [
            {"column": "data.a", "op": "equals", "value": "1"},
            {"column": "data.b", "op": "equals", "value": "1"},
        ],
    }
    said: list[CaseEvent] = [
        (0, "buy", {"a": "1", "b": "1"}),
        (1, "buy", {"a": "1", "b": "2"}),
        (2, "buy", {"a": "2", "b": "1"}),
    ]
    assert values(source, said, kind="integer")[0] == ["1"]
