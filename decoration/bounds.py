"""How much of an answer is taken: a source that says too much costs time, not the process.

Rows come in chunks, so that what is read at once is bounded too.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from decoration.errors import Outage, Refused, TooLarge, Unreadable
from decoration.texts import Array
from decoration.values import LONGEST_CELL, Table
from merganser.runtime import isolation

MOST_ROWS = 100_000
"""Rows that the answer to one query about one batch has."""
MOST_BYTES = 32 * 2**20
"""Bytes that these rows take in memory, about."""
LARGEST_CHUNK = 32 * 2**20
"""Bytes that a source sends at once."""
LONGEST_CHUNK = 100
"""Rows that a source sends at once."""

TOO_LARGE = (
    f"the answer has more than {MOST_ROWS:,} rows or {MOST_BYTES >> 20} MiB: "
    "add LIMIT, select fewer columns or lower the source's batch"
)


def chunk(columns: int) -> int:
    """How many rows of so many columns a source may send at once."""
    return min(max(LARGEST_CHUNK // (LONGEST_CELL * columns), 1), LONGEST_CHUNK)


def read(
    columns: tuple[str, ...],
    chunks: Iterable[Sequence[Sequence[Any]]],
    check_time: Callable[[], None],
) -> Table:
    """Read an answer.

    Args:
        columns: their names.
        chunks: the rows, some at a time.
        check_time: raises Outage when nobody waits for the answer any longer.

    Raises:
        TooLarge: it has too many rows, or too large ones.
        Unreadable: the driver cannot make values of the rows.
        Outage: it takes too long.
        SQLAlchemyError: the source says so.
    """
    rows: list[Sequence[Any]] = []
    size = 0
    try:
        for some in chunks:
            for row in some:
                size += weight(row, MOST_BYTES)
                rows.append(row)
                check(len(rows), size)
            check_time()
    except (Refused, Outage, SQLAlchemyError):
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise what they like
        raise Unreadable(isolation.reason(error)) from None
    return Table(columns, rows, size)


def check(rows: int, size: int) -> None:
    """Raise TooLarge for more rows, or more bytes, than are taken."""
    if size > MOST_BYTES or rows > MOST_ROWS:
        raise TooLarge(TOO_LARGE)


def weight(row: Sequence[Any], at_most: int) -> int:
    """About how many bytes a row takes; more than `at_most` is not looked at."""
    total = sys.getsizeof(row)
    waiting = list(row)
    seen: set[int] = set()
    while waiting and total <= at_most:
        value = waiting.pop()
        if type(value) in _SCALARS:
            total += sys.getsizeof(value)
            continue
        total += _size(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))  # it may have itself in it
            waiting += value
            if isinstance(value, Mapping):
                waiting += value.values()
    return total


def _size(value: Any) -> int:
    match value:
        case memoryview():
            return value.nbytes
        case Array():
            return sys.getsizeof(value.data)
    return sys.getsizeof(value)


_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
"""Most values are of these types."""
