"""Which texts fit the type of a property, and the one way each value is written.

Event data is text, so every value of a property starts as one. A text that does not fit is no
value: the caller skips and counts it.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact
from typing import Literal

from pydantic import TypeAdapter, ValidationError

Type = Literal["string", "integer", "float", "boolean", "date", "email", "url", "phone number"]

LONGEST_VALUE = 16_384
"""Bytes in UTF-8 that a value may have. The filter of the read API takes as many."""
MOST_VALUES = 1_000
"""Values that an array property may have."""

EXACT = Context(prec=200, traps=[Inexact])
"""Sums of numbers of up to `_DIGITS` digits on either side of the point, never rounded."""

_WIDE = Context(prec=200)
_DIGITS = 38
_FITTING = Context(prec=2 * _DIGITS, traps=[Inexact])
_ROUNDED = Decimal("1e-12")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEANS = {"true": "true", "1": "true", "false": "false", "0": "false"}
_EMAIL = re.compile(r"[^\s@<>()\",;:]+@[^\s@<>()\",;:.]+(\.[^\s@<>()\",;:.]+)+")
_URL = re.compile(r"https?://[^\s/?#]++\S*+", re.IGNORECASE)
"""Possessive: to try shorter hosts would take time that grows with the square of the length."""
_PHONE = re.compile(r"\+?\d{5,15}", re.ASCII)
_PHONE_DECORATION = str.maketrans("", "", " -./()\u00a0")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
"""Microseconds."""
_MICROSECOND = timedelta(microseconds=1)

_moment = TypeAdapter(datetime)


def number(text: str) -> Decimal | None:
    """The exact number that a text writes, up to 38 digits on either side of the point, or None."""
    if not _NUMBER.fullmatch(text := text.strip()):
        return None
    try:
        found = Decimal(text).normalize(_FITTING)
    except Inexact:  # more digits than there is room for on both sides of the point
        return None
    _, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int) or exponent < -_DIGITS or exponent + len(digits) > _DIGITS:
        return None
    return found


def write_number(value: Decimal) -> str:
    """A number without exponent and without needless zeros: `1E+3` is `1000`, `2.50` is `2.5`."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def quotient(dividend: Decimal, divisor: Decimal) -> str:
    """What a division gives, to 12 digits after the point, half to even."""
    return write_number(
        Context(prec=200).divide(dividend, divisor).quantize(_ROUNDED, context=_WIDE)
    )


def microseconds(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time, or of a date's first moment; UTC if no zone."""
    text = text.strip()
    if number(text) is not None:
        return None  # an epoch in seconds or in milliseconds: nothing tells which
    try:
        found = _moment.validate_python(text)
    except ValidationError:
        return None
    return ((found.replace(tzinfo=UTC) if found.tzinfo is None else found) - EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """The time that is so many microseconds since 1970."""
    return EPOCH + timedelta(microseconds=at)


def write_time(at: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC, always as long, so that texts sort as times."""
    return f"{moment(at):%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0")


def size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def storable(text: str) -> bool:
    """Whether Postgres can store a text: it takes no NUL and no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def fit(kind: Type, text: str) -> str | None:
    """The value as a property of this type has it, or None if the text is no such value."""
    return _FITS[kind](text)


def order(kind: Type, value: str) -> Decimal | str:
    """What a fitting value is compared by: numbers as numbers, all else by code points."""
    return Decimal(value) if kind in ("integer", "float") else value


def _integer(text: str) -> str | None:
    found = number(text)
    if found is None or found != found.to_integral_value():
        return None
    return write_number(found)


def _float(text: str) -> str | None:
    found = number(text)
    return None if found is None else write_number(found)


def _date(text: str) -> str | None:
    at = microseconds(text)
    if at is None:
        return None
    try:
        return write_time(at)
    except OverflowError:  # its zone carries it out of the years 1 to 9999
        return None


def _pattern(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def matching(text: str) -> str | None:
        return text if pattern.fullmatch(text := text.strip()) else None

    return matching


def _phone(text: str) -> str | None:
    digits = text.translate(_PHONE_DECORATION)
    return digits if _PHONE.fullmatch(digits) else None


_FITS: dict[Type, Callable[[str], str | None]] = {
    "string": lambda text: text,
    "integer": _integer,
    "float": _float,
    "boolean": lambda text: _BOOLEANS.get(text.strip().lower()),
    "date": _date,
    "email": _pattern(_EMAIL),
    "url": _pattern(_URL),
    "phone number": _phone,
}
