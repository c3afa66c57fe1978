"""Items that a process could not handle, stored in a table until an operator resolves them.

A process that handles many items at once sets a failing item aside and continues with the others;
see `isolation.py`. `merganser/admin/dead_letters/` has the operators' actions.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.runtime import sql
from schemas.dead_letter import DeadLetter

_SQL = sql.load(__package__, "set_aside.sql")


class Kind(StrEnum):
    """What an item is; docs/tables.md says what `subject` and `place` are for each kind."""

    RECORD = "record"
    ROW = "row"
    MOVE = "move"
    ERASURE = "erasure"
    PROFILE = "profile"
    VALUE = "value"


class Item(NamedTuple):
    """An item that failed."""

    kind: Kind
    subject: str
    place: str
    reason: str
    """From `isolation.reason`: without content of events."""


async def put(connection: AsyncConnection[Any], items: Collection[Item]) -> None:
    """Set items aside, in the caller's transaction.

    A retried item that fails again is open again. A dropped item stays dropped.
    """
    if not items:
        return
    kinds, subjects, places, reasons = zip(*items, strict=True)
    await connection.execute(
        _SQL["put"],
        {
            "kinds": sql.texts(kinds),
            "subjects": sql.texts(subjects),
            "places": sql.texts(places),
            "reasons": sql.texts(reasons),
        },
    )


async def put_records(
    connection: AsyncConnection[Any], cluster: str, letters: Collection[DeadLetter]
) -> None:
    """Record dead letters, in the transaction that moves the offset past their records."""
    if not letters:
        return
    await connection.execute(
        _SQL["put_records"],
        {
            "cluster": cluster,
            "subjects": sql.texts(str(letter.origin) for letter in letters),
            "reasons": sql.texts(letter.reason for letter in letters),
            "attempts": [letter.attempt for letter in letters],
        },
    )


async def clear(connection: AsyncConnection[Any], kind: Kind, subjects: Collection[str]) -> None:
    """Delete retried items that have succeeded, in the caller's transaction."""
    await connection.execute(_SQL["clear"], {"kind": kind, "subjects": sql.texts(subjects)})


async def open_items(connection: AsyncConnection[Any]) -> dict[Kind, int]:
    """Return the number of open items by kind."""
    cursor = await connection.execute(_SQL["open"])
    counts = dict(await cursor.fetchall())
    return {kind: counts.get(kind, 0) for kind in Kind}
