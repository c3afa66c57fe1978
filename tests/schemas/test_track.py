"""Events as clients send them, and how their fields are read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.exact_json import loads
from schemas.track import Track

SPRING = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
SPRING_SECONDS = int(SPRING.timestamp())


def read(**fields: str) -> Track:
    """Return the Track of these JSON texts of fields."""
    members = {"type": '"t"', **fields}
    text = "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
    return Track.model_validate(loads(text))


def read_invalid_fields(**fields: str) -> set[Any]:
    with pytest.raises(ValidationError) as caught:
        read(**fields)
    return {error["loc"][0] for error in caught.value.errors()}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param('"2026-03-01T12:30:15Z"', SPRING, id="ISO, Z"),
        pytest.param('"2026-03-01T12:30:15"', SPRING, id="ISO without zone is UTC"),
        pytest.param('"2026-03-01 12:30:15+00:00"', SPRING, id="ISO with a space"),
        pytest.param('"2026-03-01T14:30:15+02:00"', SPRING, id="ISO, another zone"),
        pytest.param(
            '"2026-03-01T12:30:15.123456Z"', SPRING + timedelta(microseconds=123456), id="6 digits"
        ),
        pytest.param(
            '"2026-03-01T12:30:15.1Z"', SPRING + timedelta(milliseconds=100), id="1 digit"
        ),
        pytest.param(f"{SPRING_SECONDS}", SPRING, id="epoch s"),
        pytest.param(f'"{SPRING_SECONDS}"', SPRING, id="epoch s as string"),
        pytest.param(f"{SPRING_SECONDS}.25", SPRING + timedelta(milliseconds=250), id="float s"),
        pytest.param(f"{SPRING_SECONDS}123", SPRING + timedelta(milliseconds=123), id="epoch ms"),
        pytest.param(
            f'"{SPRING_SECONDS}123"', SPRING + timedelta(milliseconds=123), id="epoch ms as string"
        ),
        pytest.param("0", datetime(1970, 1, 1, tzinfo=UTC), id="the epoch"),
        pytest.param("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), id="before the epoch"),
        pytest.param('"0001-01-01T00:00:00Z"', datetime(1, 1, 1, tzinfo=UTC), id="year 1"),
        pytest.param(
            '"9999-12-31T23:59:59.999999Z"', datetime.max.replace(tzinfo=UTC), id="year 9999"
        ),
        pytest.param("null", None, id="null"),
    ],
)
def test_a_time_is_read(text: str, moment: datetime | None) -> None:
    read_moment = read(occurredAt=text).occurred_at
    assert read_moment == moment
    assert read_moment is None or read_moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"0000-01-01T00:00:00Z"', id="year 0"),
        pytest.param('"10000-01-01T00:00:00Z"', id="year 10000"),
        pytest.param("253402300800000", id="year 10000 as ms"),
        pytest.param('"0001-01-01T00:00:00+01:00"', id="year 0 in UTC"),
        pytest.param('"9999-12-31T23:59:59-01:00"', id="year 10000 in UTC"),
        pytest.param('"2026-02-30"', id="no such day"),
        pytest.param('"yesterday"', id="words"),
        pytest.param('""', id="empty"),
        pytest.param("1e400", id="beyond all times"),
        pytest.param("9" * 400, id="400 digits"),
        pytest.param("NaN", id="NaN"),
        pytest.param('"NaN"', id="NaN as a string"),
        pytest.param('"Infinity"', id="infinity as a string"),
        pytest.param("true", id="boolean"),
        pytest.param("{}", id="object"),
        pytest.param("[1]", id="array"),
    ],
)
def test_an_invalid_time_is_refused(text: str) -> None:
    assert read_invalid_fields(occurredAt=text) == {"occurredAt"}


def test_other_names_of_the_time_are_read() -> None:
    assert read(ocurredAt=f"{SPRING_SECONDS}000").occurred_at == SPRING
    assert read(timestamp='"2026-03-01T12:30:15Z"').occurred_at == SPRING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123", "123"),
        ('"123"', "123"),
        ("9007199254740993", "9007199254740993"),
        ("1.50", "1.50"),
        ("123.0", "123"),
        ("1.23e2", "123"),
        ("1.23E+2", "123"),
        ("12300e-2", "123"),
        ("0.00123e5", "123"),
        ("1E0", "1"),
        ("-12e1", "-120"),
        ("-0.0", "0"),
        ("-0", "0"),
        ("0e999999999999", "0"),
        ("0.000", "0"),
        ("1e99", "1" + "0" * 99),
        ("1.7976931348623157e21", "1797693134862315700000"),
        ("12.5e0", "12.5e0"),
        ("1e-2", "1e-2"),
        ("1e-99999999999999999999", "1e-99999999999999999999"),
        ("1" + "0" * 300, "1" + "0" * 300),
        ('"1.23e2"', "1.23e2"),
        ('"ümlaut 🦆"', "ümlaut 🦆"),
        ('""', ""),
        ("null", None),
    ],
)
def test_ids_are_strings_or_numbers(text: str, expected: str | None) -> None:
    track = read(userId=text, anonymousId=text, sessionId=text)
    assert [track.user_id, track.anonymous_id, track.session_id] == [expected] * 3


@given(
    value=st.integers(-(10**40), 10**40),
    places=st.integers(0, 45),
    zeros=st.integers(0, 5),
    mark=st.sampled_from(["e", "E"]),
)
def test_all_forms_of_an_integer_are_the_same_id(
    value: int, places: int, zeros: int, mark: str
) -> None:
    """The decimal point moves to the left, and the exponent compensates."""
    digits = str(abs(value)).rjust(places + 1, "0")
    point = len(digits) - places
    sign = "-" if value < 0 else ""
    fraction = digits[point:] + "0" * zeros
    whole = digits[:point].lstrip("0") or "0"
    text = f"{sign}{whole}{'.' + fraction if fraction else ''}{mark}{places}"
    assert read(userId=text).user_id == str(value)


@pytest.mark.parametrize(
    "text", ["1e100", "1e400", "-1E400", "1e999999999", "1e" + "9" * 5000, "0.1e" + "9" * 30]
)
def test_a_number_of_more_than_100_digits_is_refused(text: str) -> None:
    assert read_invalid_fields(userId=text, anonymousId=text) == {"userId", "anonymousId"}
    with pytest.raises(ValidationError, match="more than 100 digits: send it as a string"):
        read(userId=text)


@pytest.mark.parametrize("text", ["true", "false", "{}", "[]", '["123"]', "NaN"])
def test_other_ids_are_refused(text: str) -> None:
    assert read_invalid_fields(userId=text, anonymousId=text) == {"userId", "anonymousId"}


@pytest.mark.parametrize("text", ['""', "null", "1", "true", "{}"])
def test_the_type_is_a_string_that_is_not_empty(text: str) -> None:
    assert read_invalid_fields(type=text) == {"type"}


def test_the_type_is_required() -> None:
    with pytest.raises(ValidationError, match="type"):
        Track.model_validate({"userId": "1"})


def test_data_may_be_missing_or_null() -> None:
    assert read().data == read(data="null").data == read(data="{}").data == {}


@pytest.mark.parametrize("text", ["[]", '"x"', "1", "true"])
def test_other_data_is_refused(text: str) -> None:
    assert read_invalid_fields(data=text) == {"data"}


def test_unknown_fields_are_ignored() -> None:
    assert read(messageId='"m"', context='{"a": 1}', userId='"1"').user_id == "1"


@pytest.mark.parametrize("body", [None, [], "text", True])
def test_a_body_that_is_not_an_object_is_refused(body: object) -> None:
    with pytest.raises(ValidationError):
        Track.model_validate(body)
