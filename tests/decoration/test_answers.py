"""From rows as drivers give them to the values of a property."""

import uuid
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from decoration.answers import Table, lacks, text, values
from properties.rules import Rule
from tests.decoration.decorated import query


def given(rows: list[tuple[Any, ...]], **options: Any) -> tuple[dict[str, list[str]], int]:
    """The values of these rows, and how many did not fit."""
    unfit = Counter[str]()
    rule = Rule.model_validate(query("plan", **options))
    found = values(Table(("id", "plan"), rows), rule, lambda key: unfit.update((key,)))
    return found, unfit["plan"]


# What a driver gives -> the type of the rule, the value of the property.
FITTING: dict[str, tuple[Any, str, str]] = {
    "text": ("pro", "string", "pro"),
    "integer": (7, "integer", "7"),
    "whole float": (7.0, "integer", "7"),
    "exact number": (Decimal("1E+3"), "integer", "1000"),
    "many digits": (Decimal("12345678901234567890.123"), "float", "12345678901234567890.123"),
    "true": (True, "boolean", "true"),
    "one of a database without booleans": (1, "boolean", "true"),
    "date": (date(2026, 1, 2), "date", "2026-01-02T00:00:00.000000Z"),
    "time without zone": (datetime(2026, 1, 2, 3), "date", "2026-01-02T03:00:00.000000Z"),  # noqa: DTZ001
    "time": (datetime(2026, 1, 2, 3, tzinfo=UTC), "date", "2026-01-02T03:00:00.000000Z"),
    "bytes": (b"pro", "string", "pro"),
    "uuid": (uuid.UUID(int=1), "string", "00000000-0000-0000-0000-000000000001"),
    "object": ({"a": [1, Decimal(2)]}, "string", '{"a":[1,"2"]}'),
}


@pytest.mark.parametrize(("said", "kind", "value"), FITTING.values(), ids=list(FITTING))
def test_a_value_as_a_text_of_its_type(said: Any, kind: str, value: str) -> None:
    assert given([("1", said)], type=kind) == ({"1": [value]}, 0)


UNFIT: dict[str, tuple[Any, str]] = {
    "no number": ("many", "integer"),
    "no finite number": (Decimal("NaN"), "float"),
    "a broken email": ("n/a", "email"),
    "NUL, which Postgres cannot store": ("a\0b", "string"),
    "bytes that are no text": (b"\xff", "string"),
}


@pytest.mark.parametrize(("said", "kind"), UNFIT.values(), ids=list(UNFIT))
def test_what_does_not_fit_is_no_value_and_counted(said: Any, kind: str) -> None:
    assert given([("1", said)], type=kind) == ({}, 1)


def test_ids_are_compared_as_texts() -> None:
    one = uuid.UUID(int=1)
    rows = [(1, "a"), ("2", "b"), (one, "c"), (None, "d")]
    assert given(rows) == ({"1": ["a"], "2": ["b"], str(one): ["c"]}, 0)


def test_of_several_rows_the_first_that_fits() -> None:
    rows = [("1", None), ("1", "x"), ("1", "2"), ("1", "3")]
    assert given(rows, type="integer") == ({"1": ["2"]}, 1)


ARRAYS: dict[str, list[tuple[Any, ...]]] = {
    "several rows": [("1", "a"), ("1", None), ("1", "b")],
    "an array": [("1", ["a", None, "b"])],
    "an array in JSON": [("1", ' ["a", "b"]')],
    "several arrays": [("1", ["a"]), ("1", ["b"])],
}


@pytest.mark.parametrize("rows", ARRAYS.values(), ids=list(ARRAYS))
def test_an_array_property_takes_all(rows: list[tuple[Any, ...]]) -> None:
    assert given(rows, array=True) == ({"1": ["a", "b"]}, 0)


def test_numbers_in_json_stay_as_they_are_written() -> None:
    rows = [("1", "[9007199254740993, 1.10]")]
    assert given(rows, array=True, type="float") == ({"1": ["9007199254740993", "1.1"]}, 0)


@pytest.mark.parametrize("said", ["[", "[" * 100_000])
def test_what_only_looks_like_json_is_a_text(said: str) -> None:
    assert given([("1", said)], array=True) == ({"1": [said]}, 0)


def test_an_answer_without_the_column_says_which_it_has() -> None:
    rule = Rule.model_validate(query("plan"))
    assert lacks(Table(("id", "plan"), []), rule) is None
    assert lacks(Table(("id", "a"), []), rule) == "the answer has no column plan: it has id, a"


def test_a_lone_surrogate_is_no_text() -> None:
    assert text("a\ud800") is None
