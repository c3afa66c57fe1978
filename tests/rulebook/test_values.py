"""Which texts fit a type, and the form of their values."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merganser.rulebook.values import (
    MAX_VALUE_BYTES,
    PropertyType,
    coerce,
    divide,
    format_number,
    format_time,
    parse_number,
    parse_time,
)

FITTING: dict[PropertyType, dict[str, str]] = {
    "string": {"": "", " unchanged ": " unchanged ", "Ä": "Ä"},
    "integer": {
        "5": "5",
        " -07 ": "-7",
        "1e3": "1000",
        "5.0": "5",
        "-0": "0",
        "9007199254740993": "9007199254740993",
        "0" * 300 + "1": "1",
        "1." + "0" * 300: "1",
        "9" * 38: "9" * 38,
        "1" + "0" * 300 + "e-300": "1",
    },
    "float": {
        "0.10": "0.1",
        ".5": "0.5",
        "5.": "5",
        "1E-3": "0.001",
        "-1e2": "-100",
        "12345678901234567890.123456789": "12345678901234567890.123456789",
        "9" * 38 + "." + "9" * 38: "9" * 38 + "." + "9" * 38,
    },
    "boolean": {"true": "true", "FALSE": "false", "1": "true", "0": "false"},
    "date": {
        "2026-01-31": "2026-01-31T00:00:00.000000Z",
        "2026-01-31T12:00:00+02:00": "2026-01-31T10:00:00.000000Z",
        "2026-01-31T12:00:00.123456": "2026-01-31T12:00:00.123456Z",
        "0001-01-01": "0001-01-01T00:00:00.000000Z",
    },
    "email": {" a.b+c@d.example ": "a.b+c@d.example"},
    "url": {"https://a.example/p?q#f": "https://a.example/p?q#f", "HTTP://A": "HTTP://A"},
    "phone number": {"+49 (30) 901820": "+4930901820", "030/90.18-20": "030901820"},
}
LONG = ["1" * 39, "1" * 201, "1" * 16_384, "." + "1" * 39, "0." + "0" * 250 + "1", "1e-999"]
"""Numbers with more digits than a value has on either side of the point."""
UNFIT: dict[PropertyType, list[str]] = {
    "string": [],
    "integer": ["", "x", "1.5", "0x10", "1_000", "NaN", "Infinity", "1e99", "٣", *LONG],
    "float": ["", "1,5", "nan", "inf", "1e39", "1e-39", "--1", "1e1000", *LONG],
    "boolean": ["", "yes", "2", "t"],
    "date": ["", "soon", "1700000000", "2026-02-30", "0001-01-01T00:00:00+01:00"],
    "email": ["a", "a@b", "a@@b.example", "a b@c.example", "a@b.example,c@d.example", "@b.example"],
    "url": ["a.example", "ftp://a.example", "https://", "https:///path", "https://a b"],
    "phone number": ["", "1234", "1234567890123456", "+", "call me"],
}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(kind, text, value) for kind, texts in FITTING.items() for text, value in texts.items()],
)
def test_a_text_that_fits_its_type_is_normalized(kind: PropertyType, text: str, value: str) -> None:
    assert coerce(kind, text) == value
    assert coerce(kind, value) == value


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in UNFIT.items() for text in texts]
)
def test_a_text_that_does_not_fit_its_type_has_no_value(kind: PropertyType, text: str) -> None:
    assert coerce(kind, text) is None


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-1e20, max_value=1e20)
)
def test_a_number_keeps_its_exact_value(value: Decimal) -> None:
    found = parse_number(str(value))
    assert found == value
    assert Decimal(format_number(value)) == value


@given(st.datetimes(), st.datetimes())
def test_times_sort_as_their_texts(left: object, right: object) -> None:
    first, second = parse_time(f"{left}"), parse_time(f"{right}")
    assert first is not None
    assert second is not None
    assert (first < second) == (format_time(first) < format_time(second))
    assert parse_time(format_time(first)) == first


@pytest.mark.parametrize(
    ("dividend", "divisor", "expected"),
    [("1", "3", "0.333333333333"), ("2", "3", "0.666666666667"), ("6", "3", "2")],
)
def test_a_quotient_is_rounded_to_twelve_digits(dividend: str, divisor: str, expected: str) -> None:
    assert divide(Decimal(dividend), Decimal(divisor)) == expected


def test_a_long_url_is_checked_in_linear_time() -> None:
    text = "https://" + "a" * (MAX_VALUE_BYTES - 10) + " b"
    start = time.process_time()
    assert coerce("url", text) is None
    assert time.process_time() - start < 0.1
