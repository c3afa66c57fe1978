"""Values as JSON, exactly: a Decimal digit for digit, a time as ISO 8601."""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

# The encoder of the standard library writes no number that is not an int or a float. So a Decimal
# goes through it as a string with a mark that nobody else knows, and loses mark and quotes after.
_MARK = f"decimal:{uuid.uuid4().hex}:"
_MARKED = re.compile(f'"{_MARK}([^"]*)"')


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: NaN, an infinity, a lone surrogate, a cycle, or nesting without end.
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
        raise ValueError("a string has a lone surrogate, which is no text") from None


def _other(value: Any) -> Any:
    """What JSON does not know by itself."""
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
    default=_other, ensure_ascii=False, allow_nan=False, separators=(",", ":")
)
