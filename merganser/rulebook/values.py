"""Types of property values: which texts fit a type, and the one way to write each value.

Event data is text, so each property value starts as text. A text that does not fit the type is not
a value: the caller skips and counts it.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact
from typing import Literal

from pydantic import TypeAdapter, ValidationError

PropertyType = Literal[
    "string", "integer", "float", "boolean", "date", "email", "url", "phone number"
]

MAX_VALUE_BYTES = 16_384
"""UTF-8 bytes of one value. Filters of the read API accept the same length."""
MAX_ARRAY_VALUES = 1_000
"""Values of one array property."""

EXACT = Context(prec=200, traps=[Inexact])
"""Adds numbers of up to `_MAX_DIGITS` digits on each side of the point without rounding."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
"""Microseconds of a day."""

_WIDE = Context(prec=200)
_MAX_DIGITS = 38
_ALL_DIGITS = Context(prec=2 * _MAX_DIGITS, traps=[Inexact])
_QUOTIENT_STEP = Decimal("1e-12")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEANS = {"true": "true", "1": "true", "false": "false", "0": "false"}
_EMAIL = re.compile(r"[^\s@<>()\",;:]+@[^\s@<>()\",;:.]+(\.[^\s@<>()\",;:.]+)+")
_URL = re.compile(r"https?://[^\s/?#]++\S*+", re.IGNORECASE)
"""The quantifiers are possessive: backtracking would take time quadratic in the length."""
_PHONE = re.compile(r"\+?\d{5,15}", re.ASCII)
_PHONE_PUNCTUATION = str.maketrans("", "", " -./()\u00a0")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MICROSECOND = timedelta(microseconds=1)
_datetime_parser = TypeAdapter(datetime)


def parse_number(text: str) -> Decimal | None:
    """Return the exact number in a text, or None if the text is not a number.

    A number has at most 38 digits on each side of the decimal point.
    """
    if not _NUMBER.fullmatch(text := text.strip()):
        return None
    try:
        number = Decimal(text).normalize(_ALL_DIGITS)
    except Inexact:  # more digits than both sides of the point may have together
        return None
    _, digits, exponent = number.as_tuple()
    if (
        not isinstance(exponent, int)
        or exponent < -_MAX_DIGITS
        or exponent + len(digits) > _MAX_DIGITS
    ):
        return None
    return number


def format_number(number: Decimal) -> str:
    """Return a number without exponent and trailing zeros: `1E+3` is `1000`, `2.50` is `2.5`."""
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def divide(dividend: Decimal, divisor: Decimal) -> str:
    """Return a quotient with up to 12 digits after the point, rounded half to even."""
    return format_number(_WIDE.divide(dividend, divisor).quantize(_QUOTIENT_STEP, context=_WIDE))


def parse_time(text: str) -> int | None:
    """Return the microseconds since 1970 of an ISO 8601 time or date, or None if it is neither.

    A date means its first moment. A time without zone is UTC.
    """
    text = text.strip()
    if parse_number(text) is not None:
        return None  # an epoch: nothing says whether in seconds or milliseconds
    try:
        time = _datetime_parser.validate_python(text)
    except ValidationError:
        return None
    return to_microseconds(time.replace(tzinfo=UTC) if time.tzinfo is None else time)


def to_microseconds(time: datetime) -> int:
    """Return the microseconds from 1970 to a time."""
    return (time - EPOCH) // _MICROSECOND


def to_datetime(microseconds: int) -> datetime:
    """Return the time that is this many microseconds after 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def format_time(microseconds: int) -> str:
    """Return microseconds since 1970 as ISO 8601 in UTC, in 27 characters: texts sort as times."""
    return f"{to_datetime(microseconds):%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0")


def utf8_size(text: str) -> int:
    """Return the UTF-8 bytes of a text."""
    return len(text) if text.isascii() else len(text.encode())


def is_storable(text: str) -> bool:
    """Return whether Postgres can store a text: it accepts no NUL and no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def coerce(type_: PropertyType, text: str) -> str | None:
    """Return a text as the value of a property of this type, or None if it does not fit."""
    return _COERCE[type_](text)


def sort_key(type_: PropertyType, value: str) -> Decimal | str:
    """Return what to compare a value by: numbers as numbers, everything else by code points."""
    return Decimal(value) if type_ in ("integer", "float") else value


def _integer(text: str) -> str | None:
    number = parse_number(text)
    if number is None or number != number.to_integral_value():
        return None
    return format_number(number)


def _float(text: str) -> str | None:
    number = parse_number(text)
    return None if number is None else format_number(number)


def _date(text: str) -> str | None:
    time = parse_time(text)
    if time is None:
        return None
    try:
        return format_time(time)
    except OverflowError:  # in UTC it is outside of the years 1 to 9999
        return None


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def coerce_matching(text: str) -> str | None:
        return text if pattern.fullmatch(text := text.strip()) else None

    return coerce_matching


def _phone(text: str) -> str | None:
    digits = text.translate(_PHONE_PUNCTUATION)
    return digits if _PHONE.fullmatch(digits) else None


_COERCE: dict[PropertyType, Callable[[str], str | None]] = {
    "string": lambda text: text,
    "integer": _integer,
    "float": _float,
    "boolean": lambda text: _BOOLEANS.get(text.strip().lower()),
    "date": _date,
    "email": _matching(_EMAIL),
    "url": _matching(_URL),
    "phone number": _phone,
}
