"""From the rows of an answer to property values: pure functions.

Which values count
    The first column is the userId, compared as text. A property with one value takes the first row
    whose value fits, so ORDER BY decides. An array property takes the values of all rows, and each
    element of a value that is an array. A user without rows, or with only nulls, has no value.

A value that does not fit the type is skipped and counted (`merganser/rulebook/values.py`): the
property shows what the source says today, and the stored value may be of an earlier rule or type.
Values that are too long, or that exceed the limits of an array, are also skipped and counted.

A value that cannot be read, whatever its driver raises, affects only this user and this property.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from merganser.rulebook.language import Rule
from merganser.rulebook.values import MAX_ARRAY_VALUES, MAX_VALUE_BYTES, coerce
from merganser.runtime import isolation

MAX_ARRAY_BYTES = 65_536
"""UTF-8 bytes of all values of one array property together."""
MAX_CELL_BYTES = 2 * MAX_ARRAY_BYTES
"""Bytes of one column of one row: a value, or an array with its commas, quotes and escapes."""

_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
"""Keeps numbers as they are written."""
_SPACE = re.compile(r"[ \t\n\r]*")
_SEPARATOR = re.compile(r"[ \t\n\r]*,?[ \t\n\r]*")
_STRING_OR_SPACE = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+')
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class ValueTooLong(Exception):
    """A value has more bytes than a property's value may have."""


class RawJson(str):
    """JSON as the database wrote it. It is parsed later, as that may fail for this value alone."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RawArray:
    """An array as the database wrote it. Its parsed values take twenty times as much memory."""

    data: bytes
    parse: Callable[[bytes], Any]


class Marker(Enum):
    """What a row has instead of a value."""

    OMITTED = "longer than MAX_CELL_BYTES: the query leaves it out"


@dataclass(frozen=True, slots=True)
class ResultTable:
    """The answer of a source."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    size: int = 0
    """Approximate bytes of the rows in memory."""


@dataclass(slots=True)
class RuleValues:
    """The values of one rule in an answer."""

    values: dict[str, list[str]] = field(default_factory=dict)
    """By userId. A user without values is missing."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a user's value cannot be read, by userId. Such a user has no values."""
    unfit: int = 0
    """Values that do not fit the type."""
    too_long: int = 0
    """Values that are too long, or exceed the limits of their array."""


def find_missing_column(table: ResultTable, rule: Rule) -> str | None:
    """Return a message if the answer lacks the rule's column, else None."""
    if rule.query is None or rule.query.column in table.columns:
        return None
    return f"the answer has no column {rule.query.column}: it has {', '.join(table.columns)}"


def read_user_ids(table: ResultTable) -> tuple[list[str | None], int]:
    """Return the userId of each row, or None; and the number of userIds that cannot be read."""
    user_ids: list[str | None] = []
    unreadable = 0
    for row in table.rows:
        try:
            user_ids.append(to_text(row[0]))
        except Exception:  # noqa: BLE001 - a value raises anything when it is converted
            user_ids.append(None)
            unreadable += 1
    return user_ids, unreadable


def read_values(table: ResultTable, user_ids: Sequence[str | None], rule: Rule) -> RuleValues:
    """Return the values of a rule.

    Args:
        table: has the rule's column, or no rows.
        user_ids: the userId of each row, from `read_user_ids`.
        rule: a rule with a query.
    """
    result = RuleValues()
    if rule.query is None or not table.rows:
        return result
    index = table.columns.index(rule.query.column)
    sizes: dict[str, int] = {}
    for user_id, row in zip(user_ids, table.rows, strict=True):
        if (
            user_id is None
            or user_id in result.failures
            or (not rule.array and user_id in result.values)
        ):
            continue
        try:
            for item in _split(row[index]) if rule.array else (row[index],):
                value = _coerce(item, rule, result)
                if value is not None and _has_room(user_id, value, result, sizes):
                    result.values.setdefault(user_id, []).append(value)
        except Exception as error:  # noqa: BLE001 - a value raises anything when it is converted
            result.failures[user_id] = isolation.reason(error)
            result.values.pop(user_id, None)
    return result


def to_text(value: Any) -> str | None:
    """Return a driver's value as the text that the same value has in event data.

    Returns:
        None for null, and for a text that Postgres cannot store.

    Raises:
        ValueTooLong: the text has more than `MAX_VALUE_BYTES` bytes.
        Exception: anything that the value raises when it is converted.
    """
    text = _write(value)
    if text is None:
        return None
    if len(text) > MAX_VALUE_BYTES:  # before other code reads the whole text
        raise ValueTooLong
    if _UNSTORABLE.search(text):
        return None
    if len(text.encode()) > MAX_VALUE_BYTES:
        raise ValueTooLong
    return text


def parse_raw(value: Any) -> Any:
    """Return a `RawArray` parsed, and a `RawJson` as its scalar or as compact JSON text.

    Numbers in JSON stay as they are written. Other values are returned unchanged.
    """
    if isinstance(value, RawArray):
        return value.parse(value.data)
    if not isinstance(value, RawJson):
        return value
    if value.lstrip().startswith(("{", "[")):
        return _STRING_OR_SPACE.sub(r"\1", value)
    return _DECODER.decode(value)


def _coerce(item: Any, rule: Rule, result: RuleValues) -> str | None:
    """Return the property's value, or None for null and for what is skipped and counted."""
    item = parse_raw(item)
    if item is None:
        return None
    try:
        text = to_text(item)
    except ValueTooLong:
        result.too_long += 1
        return None
    value = None if text is None else coerce(rule.type, text)
    if value is None:
        result.unfit += 1
    return value


def _has_room(user_id: str, value: str, result: RuleValues, sizes: dict[str, int]) -> bool:
    """Return whether the value fits into the limits of the array; else count it as too long."""
    sizes[user_id] = sizes.get(user_id, 0) + len(value.encode())
    if sizes[user_id] <= MAX_ARRAY_BYTES and len(result.values.get(user_id, ())) < MAX_ARRAY_VALUES:
        return True
    result.too_long += 1
    return False


def _split(value: Any) -> Iterable[Any]:
    """Return the elements of an array or of a JSON array in a text, else the value itself."""
    if isinstance(value, RawArray):
        value = parse_raw(value)
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and len(value) <= MAX_CELL_BYTES and value.lstrip().startswith("["):
        try:
            return _split_json(value)
        except (ValueError, RecursionError):  # it only starts like JSON, or is nested too deeply
            return (value,)
    return (value,)


def _split_json(array: str) -> list[RawJson]:
    """Return the elements of a JSON array, each as it is written.

    Raises:
        ValueError: it is not a JSON array.
        RecursionError: it is nested too deeply.
    """
    _DECODER.decode(array)  # raises if anything after the array is not valid
    elements: list[RawJson] = []
    index = _skip(_SPACE, array, array.index("[") + 1)
    while array[index] != "]":
        _, end = _DECODER.raw_decode(array, index)
        elements.append(RawJson(array[index:end]))
        index = _skip(_SEPARATOR, array, end)
    return elements


def _skip(pattern: re.Pattern[str], text: str, index: int) -> int:
    match = pattern.match(text, index)
    return match.end() if match else index


def _write(value: Any) -> str | None:
    if value is None:
        return None
    for types, write in _WRITERS:
        if isinstance(value, types):
            return write(value)
    type_: Any = type(value)
    if (type_.__str__, type_.__repr__) == (object.__str__, object.__repr__):
        raise TypeError("the value has no text except its address")
    return str(value)


def _write_decimal(value: Decimal) -> str:
    """Return a number without exponent, unless it would have gigabytes, such as 1E+999999999."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and max(value.adjusted(), -exponent) > MAX_VALUE_BYTES:
        raise ValueTooLong
    return f"{value:f}"


def _write_bytes(value: bytes | bytearray | memoryview) -> str:
    view = memoryview(value)
    if view.nbytes > MAX_VALUE_BYTES:
        raise ValueTooLong
    return view.tobytes().decode(errors="surrogateescape")


def _write_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=to_text)


def _write_omitted(_: Marker) -> str:
    raise ValueTooLong


_WRITERS: tuple[tuple[Any, Callable[[Any], str | None]], ...] = (
    ((RawJson, RawArray), lambda value: _write(parse_raw(value))),
    (str, lambda value: value),
    (bool, lambda value: "true" if value else "false"),
    (date, lambda value: value.isoformat()),  # datetime is a subclass
    (Decimal, _write_decimal),
    ((bytes, bytearray, memoryview), _write_bytes),
    ((Mapping, list, tuple), _write_json),
    (Marker, _write_omitted),
)
"""The writer of each type. The first match counts."""
