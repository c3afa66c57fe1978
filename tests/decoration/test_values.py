"""How rows of drivers become values of a property."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from decoration.values import (
    MAX_ARRAY_BYTES,
    Marker,
    RawJson,
    ResultTable,
    RuleValues,
    find_missing_column,
    read_user_ids,
    read_values,
    to_text,
)
from merganser.rulebook.language import Rule
from merganser.rulebook.values import MAX_ARRAY_VALUES, MAX_VALUE_BYTES
from tests.decoration.fake_source import (
    Unreadable,
    WithoutText,
    build_cyclic_list,
    build_nested_lists,
)
from tests.decoration.harness import query


def read_rows(rows: list[tuple[Any, ...]], **options: Any) -> RuleValues:
    """Return what a rule reads from these rows."""
    table = ResultTable(("id", "plan"), rows)
    return read_values(
        table, read_user_ids(table)[0], Rule.model_validate(query("plan", **options))
    )


def read_fitting_values(
    rows: list[tuple[Any, ...]], **options: Any
) -> tuple[dict[str, list[str]], int]:
    """Return the values that a rule reads from these rows, and how many did not fit."""
    result = read_rows(rows, **options)
    return result.values, result.unfit


# Case -> the value of the driver, the type of the rule, the value of the property.
FITTING: dict[str, tuple[Any, str, str]] = {
    "text": ("pro", "string", "pro"),
    "integer": (7, "integer", "7"),
    "whole float": (7.0, "integer", "7"),
    "exact number": (Decimal("1E+3"), "integer", "1000"),
    "many digits": (Decimal("12345678901234567890.123"), "float", "12345678901234567890.123"),
    "true": (True, "boolean", "true"),
    "1 as a boolean": (1, "boolean", "true"),
    "date": (date(2026, 1, 2), "date", "2026-01-02T00:00:00.000000Z"),
    "time without zone": (datetime(2026, 1, 2, 3), "date", "2026-01-02T03:00:00.000000Z"),  # noqa: DTZ001
    "time": (datetime(2026, 1, 2, 3, tzinfo=UTC), "date", "2026-01-02T03:00:00.000000Z"),
    "bytes": (b"pro", "string", "pro"),
    "uuid": (uuid.UUID(int=1), "string", "00000000-0000-0000-0000-000000000001"),
    "object": ({"a": [1, Decimal(2)]}, "string", '{"a":[1,"2"]}'),
    "object in JSON": (
        RawJson('{"a b": [1, 2.50], "c": "d  e"}'),
        "string",
        '{"a b":[1,2.50],"c":"d  e"}',
    ),
    "text in JSON": (RawJson('"a \\u00e9"'), "string", "a é"),
    "number in JSON": (RawJson("1.10"), "string", "1.10"),
    "boolean in JSON": (RawJson("true"), "boolean", "true"),
    "JSON that is nested too deeply to be parsed": (
        RawJson("[" * 5000 + "]" * 5000),
        "string",
        "[" * 5000 + "]" * 5000,
    ),
    "number of thousands of digits in JSON": (RawJson("7" * 5000), "string", "7" * 5000),
}


@pytest.mark.parametrize(("raw", "kind", "value"), FITTING.values(), ids=list(FITTING))
def test_a_value_becomes_a_text_of_its_type(raw: Any, kind: str, value: str) -> None:
    assert read_fitting_values([("1", raw)], type=kind) == ({"1": [value]}, 0)


UNFIT: dict[str, tuple[Any, str]] = {
    "not a number": ("many", "integer"),
    "not a finite number": (Decimal("NaN"), "float"),
    "a broken email": ("n/a", "email"),
    "NUL, which Postgres cannot store": ("a\0b", "string"),
    "bytes that are not text": (b"\xff", "string"),
}


@pytest.mark.parametrize(("raw", "kind"), UNFIT.values(), ids=list(UNFIT))
def test_an_unfit_value_is_skipped_and_counted(raw: Any, kind: str) -> None:
    assert read_fitting_values([("1", raw)], type=kind) == ({}, 1)


def test_ids_are_compared_as_texts() -> None:
    user_id = uuid.UUID(int=1)
    rows = [(1, "a"), ("2", "b"), (user_id, "c"), (None, "d")]
    assert read_fitting_values(rows) == ({"1": ["a"], "2": ["b"], str(user_id): ["c"]}, 0)


def test_the_first_fitting_row_counts() -> None:
    rows = [("1", None), ("1", "x"), ("1", "2"), ("1", "3")]
    assert read_fitting_values(rows, type="integer") == ({"1": ["2"]}, 1)


ARRAYS: dict[str, list[tuple[Any, ...]]] = {
    "several rows": [("1", "a"), ("1", None), ("1", "b")],
    "an array": [("1", ["a", None, "b"])],
    "an array in JSON": [("1", ' ["a", "b"]')],
    "several arrays": [("1", ["a"]), ("1", ["b"])],
}


@pytest.mark.parametrize("rows", ARRAYS.values(), ids=list(ARRAYS))
def test_an_array_property_takes_all_values(rows: list[tuple[Any, ...]]) -> None:
    assert read_fitting_values(rows, array=True) == ({"1": ["a", "b"]}, 0)


def test_numbers_in_json_stay_as_they_are_written() -> None:
    rows = [("1", "[9007199254740993, 1.10]")]
    assert read_fitting_values(rows, array=True, type="float") == (
        {"1": ["9007199254740993", "1.1"]},
        0,
    )


@pytest.mark.parametrize("raw", ["[", "[" * 10_000])
def test_invalid_json_is_a_text(raw: str) -> None:
    assert read_fitting_values([("1", raw)], array=True) == ({"1": [raw]}, 0)


def test_the_error_for_a_missing_column_lists_the_columns() -> None:
    rule = Rule.model_validate(query("plan"))
    assert find_missing_column(ResultTable(("id", "plan"), []), rule) is None
    assert (
        find_missing_column(ResultTable(("id", "a"), []), rule)
        == "the answer has no column plan: it has id, a"
    )


def test_a_lone_surrogate_is_not_a_text() -> None:
    assert to_text("a\ud800") is None


UNREADABLE: dict[str, tuple[Any, str]] = {
    "a number of more digits than Python writes": (10**5000, "ValueError at decoration/values.py"),
    "an object whose text fails": (Unreadable(), "MemoryError at decoration/fake_source.py"),
    "an object without a text": (WithoutText(), "TypeError at decoration/values.py"),
    "a list in itself": (build_cyclic_list(), "ValueError at decoration/values.py"),
    "lists in lists": (build_nested_lists(100_000), "RecursionError at decoration/values.py"),
    "a key that JSON cannot represent": ({(1, 2): 3}, "TypeError at decoration/values.py"),
}


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(("raw", "reason"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_an_unreadable_value_affects_only_its_user(raw: Any, reason: str, *, array: bool) -> None:
    value = [raw] if array else raw
    result = read_rows([("1", "a"), ("2", value), ("2", "b"), ("3", "c")], array=array)
    assert result.values == {"1": ["a"], "3": ["c"]}
    assert list(result.failures) == ["2"]
    assert result.failures["2"].startswith(reason)


def test_an_unreadable_id_belongs_to_no_user() -> None:
    table = ResultTable(
        ("id", "plan"), [(10**5000, "a"), ("x" * 100_000, "b"), ("1", "c"), (None, "d")]
    )
    assert read_user_ids(table) == ([None, None, "1", None], 2)


TOO_LONG: dict[str, Any] = {
    "text": "x" * (MAX_VALUE_BYTES + 1),
    "text of letters of two bytes": "é" * (MAX_VALUE_BYTES // 2 + 1),
    "bytes": b"x" * (MAX_VALUE_BYTES + 1),
    "memory": memoryview(b"x" * (MAX_VALUE_BYTES + 1)),
    "a number of gigabytes": Decimal("1E+999999999"),
    "a number of gigabytes after the point": Decimal("1E-999999999"),
    "an object": {"a": ["x" * MAX_VALUE_BYTES]},
    "a value that the query omits": Marker.OMITTED,
}


@pytest.mark.parametrize("raw", TOO_LONG.values(), ids=list(TOO_LONG))
def test_a_value_that_is_too_long_has_no_text_and_is_counted(raw: Any) -> None:
    result = read_rows([("1", raw), ("2", "a")])
    assert (result.values, result.too_long, result.unfit, result.failures) == (
        {"2": ["a"]},
        1,
        0,
        {},
    )


def test_a_value_of_the_maximum_length_is_kept() -> None:
    longest = "x" * MAX_VALUE_BYTES
    assert read_fitting_values([("1", longest)]) == ({"1": [longest]}, 0)


def test_an_array_stops_at_the_maximum_number_of_values() -> None:
    rows = [("1", str(number)) for number in range(MAX_ARRAY_VALUES + 5)] + [("2", "a")]
    result = read_rows(rows, array=True)
    assert result.values["1"] == [str(number) for number in range(MAX_ARRAY_VALUES)]
    assert (result.values["2"], result.too_long) == (["a"], 5)


def test_an_array_stops_at_the_maximum_number_of_bytes() -> None:
    raw = ["x" * 10_000] * 8 + ["a"]
    result = read_rows([("1", raw), ("2", "a")], array=True)
    assert result.values == {"1": ["x" * 10_000] * (MAX_ARRAY_BYTES // 10_000), "2": ["a"]}
    assert result.too_long == len(raw) - MAX_ARRAY_BYTES // 10_000


def test_elements_of_json_stay_as_they_are_written() -> None:
    raw = RawJson('[ 1e-400, {"a" : 1.10}, ["b", 2 ], null, "c", 1.50 ]')
    assert read_fitting_values([("1", raw)], array=True)[0] == {
        "1": ["1e-400", '{"a":1.10}', '["b",2]', "c", "1.50"]
    }
