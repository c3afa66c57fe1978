import json
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from merganser_client import exact_json

EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("text", '"text"'),
        ('"\\\t\n\0é😀', '"\\"\\\\\\t\\n\\u0000é😀"'),
        (True, "true"),
        (None, "null"),
        (9007199254740993, "9007199254740993"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (Decimal("19.990"), "19.990"),
        (Decimal("-0.0"), "-0.0"),
        (Decimal("1E+400"), "1E+400"),
        (Decimal("1." + 60 * "1"), "1." + 60 * "1"),
        ({"a": [Decimal("1.10"), {"b": Decimal(2)}]}, '{"a":[1.10,{"b":2}]}'),
        (datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=EAST), '"2026-03-01T12:00:00.000001+05:30"'),
        (date(2026, 3, 1), '"2026-03-01"'),
        (time(12, 30), '"12:30:00"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ((1, 2), "[1,2]"),
        (MappingProxyType({"a": MappingProxyType({})}), '{"a":{}}'),
    ],
)
def test_values_are_written_exactly(value: object, written: str) -> None:
    assert exact_json.dumps(value).decode() == written
    json.loads(written)


@pytest.mark.parametrize("text", ["decimal:1", '"decimal:0123456789abcdef:1.5"', "1.50"])
def test_text_that_looks_like_a_decimal_stays_text(text: str) -> None:
    written = exact_json.dumps({"text": text, "number": Decimal("1.50")})
    assert json.loads(written, parse_float=Decimal) == {"text": text, "number": Decimal("1.50")}


def create_cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def create_deep_list() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (Decimal("NaN"), ValueError),
        (Decimal("-Infinity"), ValueError),
        ("\ud800", ValueError),
        ({"\udfff": 1}, ValueError),
        (create_cycle(), ValueError),
        (create_deep_list(), ValueError),
        ({1, 2}, TypeError),
        (b"bytes", TypeError),
        (object(), TypeError),
        ({(1, 2): 3}, TypeError),
    ],
)
def test_values_without_a_json_form_are_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        exact_json.dumps(value)
