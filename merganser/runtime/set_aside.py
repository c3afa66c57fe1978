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


async def delete(
    connection: AsyncConnection[Any], kinds: Collection[Kind], subjects: Collection[str]
) -> int:
    """Delete all items of subjects that no longer exist, in the caller's transaction.

    Returns:
        How many items were deleted.
    """
    cursor = await connection.execute(
        _SQL["delete"], {"kinds": sql.texts(kinds), "subjects": sql.texts(subjects)}
    )
    return cursor.rowcount


async def delete_places(
    connection: AsyncConnection[Any],
    kind: Kind,
    subjects: Collection[str],
    places: Collection[str],
    kept: Collection[Item] = (),
) -> int:
    """Delete the items of subjects at places, except those to keep, in the caller's transaction.

    Returns:
        How many items were deleted.
    """
    cursor = await connection.execute(
        _SQL["delete_places"],
        {
            "kind": kind,
            "subjects": sql.texts(subjects),
            "places": sql.texts(places),
            "kept_subjects": sql.texts(item.subject for item in kept),
            "kept_places": sql.texts(item.place for item in kept),
        },
    )
    return cursor.rowcount


async def delete_other_places(
    connection: AsyncConnection[Any], kind: Kind, places: Collection[str]
) -> None:
    """Delete the items of a kind at all places but these, in the caller's transaction."""
    await connection.execute(
        _SQL["delete_other_places"], {"kind": kind, "places": sql.texts(places)}
    )


async def read_attempts(
    connection: AsyncConnection[Any], kind: Kind, subject: str, places: Collection[str]
) -> int:
    """Return how often a subject was set aside at the place where that was most often."""
    cursor = await connection.execute(
        _SQL["read_attempts"], {"kind": kind, "subject": subject, "places": sql.texts(places)}
    )
    (attempts,) = await cursor.fetchone() or (0,)
    return int(attempts)


async def read_open_places(
    connection: AsyncConnection[Any], kind: Kind, subject: str
) -> dict[str, str]:
    """Return the reasons of a subject's open items, by place."""
    cursor = await connection.execute(_SQL["read_open_places"], {"kind": kind, "subject": subject})
    return dict(await cursor.fetchall())


async def read_subjects(connection: AsyncConnection[Any], kind: Kind) -> set[str]:
    """Return the subjects that are set aside and not retried."""
    cursor = await connection.execute(_SQL["read_subjects"], {"kind": kind})
    return {subject for (subject,) in await cursor.fetchall()}


async def open_items(connection: AsyncConnection[Any]) -> dict[Kind, int]:
    """Return the number of open items by kind."""
    cursor = await connection.execute(_SQL["open"])
    counts = dict(await cursor.fetchall())
    return {kind: counts.get(kind, 0) for kind in Kind}
