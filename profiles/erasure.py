"""Forgetting a person beside live traffic: each step is one short transaction, and can be repeated.

1. `suppress`: from its commit on no event of the person is stored, and events of other users are
   stored without the person's anonymousIds. It waits for the plans under way, and nobody plans
   meanwhile (see `"suppressedIds"` in the migration), so later nothing can join the person and
   nothing can leave: what follows needs no such lock.
2. `clear_way`: events that are on their way to the person or away come home, and the person's
   anonymousIds go from events of other users, whose own these are, and from their data.
3. `forget`: who the person was goes, at once: profile, anonymousIds, merges. Without suppression it
   is lifted in the same transaction, so the same ids begin anew.
4. `erase_chunk`: the events go, some thousands at a time. The scanner does what is left of that.

Identity is then that of the events that are left, in which the person's anonymousIds do not occur.
For all others it holds at each step: an event of another user with an anonymousId of the person is
never that anonymousId's earliest link, or the anonymousId would be the other user's.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from profiles import store
from runtime import sql

_SQL = sql.load(__package__, "erasure.sql")


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a name leads to."""

    profile: str
    user_id: str | None
    events: int
    anonymous_ids: int


async def find(connection: AsyncConnection[Any], name: str) -> Person | None:
    """The person with this guid of a profile, also of one that merged, or with this userId."""
    cursor = await connection.execute(_SQL["person"], {"name": name})
    row = await cursor.fetchone()
    return None if row is None else Person(*row)


async def suppress(connection: AsyncConnection[Any], profile: str) -> None:
    """Let a person's events and ids be stored no more; in a transaction of its own.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction that plans goes on and on; try again.
    """
    await connection.execute(_SQL["patience"])
    await connection.execute(_SQL["hold_planners"])
    await connection.execute(_SQL["suppress"], {"profile": profile})


async def clear_way(connection: AsyncConnection[Any], profile: str, at_most: int) -> bool:
    """Bring some events home and take ids off some events of others; whether there may be more."""
    if await store.move_chunk(connection, at_most, profile) is not None:
        return True
    cursor = await connection.execute(
        _SQL["take_ids_off"], {"profile": profile, "at_most": at_most}
    )
    return cursor.rowcount == at_most


async def forget(connection: AsyncConnection[Any], profile: str, *, suppressed: bool) -> None:
    """Forget who a person is, once the way is clear; the events are left to `erase_chunk`.

    Args:
        connection: in a transaction. What other rooms know of the profile is to go in it, too.
        profile: after `suppress`, and `clear_way` until there was no more.
        suppressed: whether it is to stay so that the person's ids are not stored.
    """
    scope = {"profile": profile}
    if not suppressed:
        await connection.execute(_SQL["lift"], scope)
    for statement in (
        "hold_visitors",
        "forget_merges",
        "forget_way",
        "unname_loser",
        "forget_visitors",
        "forget_profile",
        "begin",
    ):
        await connection.execute(_SQL[statement], scope)


async def erase_chunk(connection: AsyncConnection[Any], at_most: int) -> int | None:
    """Delete events of the person forgotten first of those who still have some; None: nobody."""
    cursor = await connection.execute(_SQL["next_erasure"])
    row = await cursor.fetchone()
    if row is None:
        return None
    scope = {"profile": row[0]}
    cursor = await connection.execute(_SQL["erase"], {**scope, "at_most": at_most})
    (erased,) = await cursor.fetchone() or (0,)
    if erased < at_most:
        await connection.execute(_SQL["finish"], scope)
    return int(erased)


async def readmit(connection: AsyncConnection[Any], name: str) -> bool:
    """Let a userId or anonymousId be stored again; whether it was not."""
    return (await connection.execute(_SQL["readmit"], {"name": name})).rowcount > 0
