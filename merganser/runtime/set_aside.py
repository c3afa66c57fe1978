"""Items that a process could not handle, kept in a table until an operator deals with them.

Whatever handles many items at once sets a failing one aside and goes on with the others; see
`isolation.py`. What operators do about the items is in `merganser/admin/dead_letters/`.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.runtime import sql
from schemas.dead_letter import Letter

_SQL = sql.load(__package__, "set_aside.sql")


class Kind(StrEnum):
    """What an item is; the migration of the table says what `subject` and `place` are of each."""

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
    """As `isolation.reason` gives it: no content."""


async def put(connection: AsyncConnection[Any], items: Collection[Item]) -> None:
    """Set items aside, in the caller's transaction; one that was retried is open again.

    One that was dropped stays dropped, however often it fails.
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
    connection: AsyncConnection[Any], cluster: str, letters: Collection[Letter]
) -> None:
    """Note dead letters, in the transaction that moves the position past their records."""
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
    """Forget items that were retried and have succeeded, in the caller's transaction."""
    await connection.execute(_SQL["clear"], {"kind": kind, "subjects": sql.texts(subjects)})


async def open_items(connection: AsyncConnection[Any]) -> dict[Kind, int]:
    """How many items nobody has dealt with, by kind."""
    cursor = await connection.execute(_SQL["open"])
    found = dict(await cursor.fetchall())
    return {kind: found.get(kind, 0) for kind in Kind}
