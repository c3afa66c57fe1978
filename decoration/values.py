"""From the rows of an answer to the values of properties: pure.

Which values
    The first column is the userId, compared as text. A property of one value takes the first row's
    that fits, so that ORDER BY decides; an array takes the values of all rows, and the elements of
    each that is an array itself. A user without a row, or with nothing but nulls, has no value.

A value that does not fit the type is none, as everywhere (`merganser/rulebook/values.py`): the
property is what the source says today, and what was stored may be of an earlier rule or type. The
same goes for a value that is too long, and for the values of an array beyond its bounds.

A value that cannot be read at all, whatever is raised, costs that user that property alone.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from decoration.texts import DECODER, Array, Json, TooLong, parsed, text
from merganser.rulebook.language import Rule
from merganser.rulebook.values import MAX_ARRAY_VALUES, coerce
from merganser.runtime import isolation

LONGEST_ARRAY = 65_536
"""Bytes in UTF-8 that the values of one array property have together."""
LONGEST_CELL = 2 * LONGEST_ARRAY
"""Bytes of one column of one row: a value, or an array with its commas, quotes and escapes."""

_SPACE = re.compile(r"[ \t\n\r]*")
_SEPARATOR = re.compile(r"[ \t\n\r]*,?[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Table:
    """What a source answered."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    size: int = 0
    """About how many bytes the rows take, as `bounds.weight` has it."""


@dataclass(slots=True)
class Found:
    """What an answer has for one rule."""

    values: dict[str, list[str]] = field(default_factory=dict)
    """By userId; a user without any is missing."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a user's value cannot be read, by userId; such a user has no value."""
    unfit: int = 0
    """Values that do not fit the type."""
    too_long: int = 0
    """Values that are too long, or beyond the bounds of their array."""


def lacks(table: Table, rule: Rule) -> str | None:
    """Why a rule finds no values in an answer; None if its column is there."""
    if rule.query is None or rule.query.column in table.columns:
        return None
    return f"the answer has no column {rule.query.column}: it has {', '.join(table.columns)}"


def user_ids(table: Table) -> tuple[list[str | None], int]:
    """The userId of each row, None where there is none, and how many could not be read."""
    found: list[str | None] = []
    unreadable = 0
    for row in table.rows:
        try:
            found.append(text(row[0]))
        except Exception:  # noqa: BLE001 - whatever it is, it is no id of ours
            found.append(None)
            unreadable += 1
    return found, unreadable


def values(table: Table, users: Sequence[str | None], rule: Rule) -> Found:
    """The values of a rule.

    Args:
        table: has the rule's column, or no row.
        users: the userId of each row, as `user_ids` gives it.
        rule: one that asks a source.
    """
    found = Found()
    if rule.query is None or not table.rows:
        return found
    index = table.columns.index(rule.query.column)
    sizes: dict[str, int] = {}
    for user, row in zip(users, table.rows, strict=True):
        if user is None or user in found.failures or (not rule.array and user in found.values):
            continue
        try:
            for said in _elements(row[index]) if rule.array else (row[index],):
                value = _fitting(said, rule, found)
                if value is not None and _has_room(user, value, found, sizes):
                    found.values.setdefault(user, []).append(value)
        except Exception as error:  # noqa: BLE001 - values raise what their drivers like
            found.failures[user] = isolation.reason(error)
            found.values.pop(user, None)
    return found


def _fitting(said: Any, rule: Rule, found: Found) -> str | None:
    """A value as the property has it; None for null, and for what is skipped and counted."""
    said = parsed(said)
    if said is None:
        return None
    try:
        value = text(said)
    except TooLong:
        found.too_long += 1
        return None
    fitting = None if value is None else coerce(rule.type, value)
    if fitting is None:
        found.unfit += 1
    return fitting


def _has_room(user: str, value: str, found: Found, sizes: dict[str, int]) -> bool:
    """Whether an array is within its bounds with one more value: where it is not, it ends."""
    sizes[user] = sizes.get(user, 0) + len(value.encode())
    if sizes[user] <= LONGEST_ARRAY and len(found.values.get(user, ())) < MAX_ARRAY_VALUES:
        return True
    found.too_long += 1
    return False


def _elements(value: Any) -> Iterable[Any]:
    """Of an array, or of a JSON array in a text; else the value itself."""
    if isinstance(value, Array):
        value = parsed(value)
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and len(value) <= LONGEST_CELL and value.lstrip().startswith("["):
        try:
            return _elements_of_json(value)
        except (ValueError, RecursionError):  # it only looks like JSON, or is nested too deeply
            return (value,)
    return (value,)


def _elements_of_json(array: str) -> list[Json]:
    """The elements of a JSON array, each as it is written.

    Raises:
        ValueError: it is no JSON array.
        RecursionError: it is nested too deeply.
    """
    DECODER.decode(array)  # all of it is one
    found: list[Json] = []
    at = _after(_SPACE, array, array.index("[") + 1)
    while array[at] != "]":
        _, end = DECODER.raw_decode(array, at)
        found.append(Json(array[at:end]))
        at = _after(_SEPARATOR, array, end)
    return found


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
