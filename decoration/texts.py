"""Values as drivers give them, as the texts that they would be in an event: pure."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from merganser.rulebook.values import MAX_VALUE_BYTES

DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
"""Leaves numbers as they are written."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_STRING_OR_SPACE = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+')


class TooLong(Exception):
    """A value that is longer than a property's may be."""


class Json(str):
    """JSON as the database wrote it, not parsed yet: that may fail, for this value alone."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Array:
    """An array as the database wrote it: the values in it take twenty times as much memory."""

    data: bytes
    parse: Callable[[bytes], Any]


class Cell(Enum):
    """What is in a row instead of a value."""

    OMITTED = "longer than LONGEST_CELL: the source was asked not to send it"


def text(value: Any) -> str | None:
    """A value of a driver as the text that the same value in an event would be, if it can be one.

    None for null, and for what Postgres cannot store as text.

    Raises:
        TooLong: the text has more than `LONGEST_VALUE` bytes.
        Exception: whatever the value raises when it is asked for its text.
    """
    written = _written(value)
    if written is None:
        return None
    if len(written) > MAX_VALUE_BYTES:  # before anything else looks at all of it
        raise TooLong
    if _UNSTORABLE.search(written):
        return None
    if len(written.encode()) > MAX_VALUE_BYTES:
        raise TooLong
    return written


def parsed(value: Any) -> Any:
    """What stands in a value that is not parsed yet: of JSON a scalar, or its text without spaces.

    Numbers in it stay as they are written.
    """
    if isinstance(value, Array):
        return value.parse(value.data)
    if not isinstance(value, Json):
        return value
    if value.lstrip().startswith(("{", "[")):
        return _STRING_OR_SPACE.sub(r"\1", value)
    return DECODER.decode(value)


def _written(value: Any) -> str | None:
    if value is None:
        return None
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            return write(value)
    kind: Any = type(value)
    if (kind.__str__, kind.__repr__) == (object.__str__, object.__repr__):
        raise TypeError("it has no text but its address")
    return str(value)


def _digits(value: Decimal) -> str:
    """A number without exponent, unless that is gigabytes, as of 1E+999999999."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and max(value.adjusted(), -exponent) > MAX_VALUE_BYTES:
        raise TooLong
    return f"{value:f}"


def _decoded(value: bytes | bytearray | memoryview) -> str:
    held = memoryview(value)
    if held.nbytes > MAX_VALUE_BYTES:
        raise TooLong
    return held.tobytes().decode(errors="surrogateescape")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=text)


def _omitted(_: Cell) -> str:
    raise TooLong


_WRITERS: tuple[tuple[Any, Callable[[Any], str | None]], ...] = (
    ((Json, Array), lambda value: _written(parsed(value))),
    (str, lambda value: value),
    (bool, lambda value: "true" if value else "false"),
    (date, lambda value: value.isoformat()),  # and datetime, which is one
    (Decimal, _digits),
    ((bytes, bytearray, memoryview), _decoded),
    ((Mapping, list, tuple), _json),
    (Cell, _omitted),
)
"""What writes the values of which types; the first one counts."""
