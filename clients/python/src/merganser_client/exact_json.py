"""JSON without loss: each digit of a Decimal, times as ISO 8601."""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

# The standard library's encoder writes only int and float as numbers. So a Decimal passes it as a
# string with a random mark, and loses the mark and the quotes afterwards.
_MARK = f"decimal:{uuid.uuid4().hex}:"
_MARKED = re.compile(f'"{_MARK}([^"]*)"')


def dumps(value: Any) -> bytes:
    """Return a value as compact JSON in UTF-8.

    Raises:
        TypeError: a part of the value has a type without a JSON form.
        ValueError: a part of it is NaN, infinite, a lone surrogate, a cycle or nested too deeply.
    """
    try:
        text = _encoder.encode(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _MARK in text:
        text = _MARKED.sub(r"\1", text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("a string has a lone surrogate, which UTF-8 cannot encode") from None


def _convert(value: Any) -> Any:
    """Convert a value that the standard library's encoder does not know."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not a JSON number")
        return f"{_MARK}{value}"
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


_encoder = json.JSONEncoder(
    default=_convert, ensure_ascii=False, allow_nan=False, separators=(",", ":")
)
