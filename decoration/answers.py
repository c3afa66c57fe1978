"""From the rows of an answer to the values of properties: pure.

Which values
    The first column is the userId, compared as text. A property of one value takes the first row's
    that fits, so that ORDER BY decides; an array takes the values of all rows, and the elements of
    each that is an array itself. A user without a row, or with nothing but nulls, has no value.

A value that does not fit the type is none, as everywhere (properties/values.py): the property is
what the source says today, and what was stored may be of an earlier rule or type.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from properties.rules import Rule
from properties.values import fit

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

Unfit = Callable[[str], None]
"""Told the key of a rule for each value that does not fit its type."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a source answered."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


def lacks(table: Table, rule: Rule) -> str | None:
    """Why a rule finds no values in an answer; None if its column is there."""
    if rule.query is None or rule.query.column in table.columns:
        return None
    return f"the answer has no column {rule.query.column}: it has {', '.join(table.columns)}"


def values(table: Table, rule: Rule, unfit: Unfit) -> dict[str, list[str]]:
    """The values of a rule by userId; a user without any is missing.

    Args:
        table: has the rule's column, or no row.
        rule: one that asks a source.
        unfit: told of values that do not fit.
    """
    if rule.query is None or not table.rows:
        return {}
    index = table.columns.index(rule.query.column)
    given: dict[str, list[str]] = {}
    for row in table.rows:
        if (user := text(row[0])) is None:
            continue
        for said in _elements(row[index]) if rule.array else [row[index]]:
            if said is None:
                continue
            value = text(said)
            fitting = None if value is None else fit(rule.type, value)
            if fitting is None:
                unfit(rule.key)
            else:
                given.setdefault(user, []).append(fitting)
    return given if rule.array else {user: found[:1] for user, found in given.items()}


def text(value: Any) -> str | None:
    """A value of a driver as the text that the same value in an event would be, if it can be one.

    None for null, and for what Postgres cannot store as text.
    """
    match value:
        case None:
            return None
        case str():
            written = value
        case bool():
            written = "true" if value else "false"
        case date():  # and datetime, which is one
            written = value.isoformat()
        case Decimal():
            written = f"{value:f}"
        case bytes() | bytearray() | memoryview():
            written = bytes(value).decode(errors="surrogateescape")
        case Mapping() | list() | tuple():
            written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=text)
        case _:
            written = str(value)
    return None if _UNSTORABLE.search(written) else written


def _elements(value: Any) -> Iterator[Any]:
    """Of an array, or of a JSON array in a text; else the value itself."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            # Numbers stay as they are written.
            value = json.loads(value, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            yield value
            return
    if isinstance(value, list | tuple):
        yield from value
    else:
        yield value
