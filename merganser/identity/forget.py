"""Forgetting a person beside live traffic: each step is one short transaction, and can be repeated.

1. `suppress`: from its commit on no event of the person's userId is stored, and of some of the
   anonymousIds neither: events of other users are stored without these. It waits for the plans
   under way, and nobody plans meanwhile (see `"suppressedIds"` in the migration).
2. `clear_way`: events of these anonymousIds that are on their way to the person come home, and the
   anonymousIds go from events of other users, whose own these are, and from their data.
3. `forget_visitors`: these anonymousIds go, with their merges. Then the next ones, from 1. on,
   until there are none. Without suppression it is lifted in the same transaction: they begin anew.
4. `clear_trail`: events on their way away from the person come home, and merges of others name the
   person no more.
5. `forget`: the profile goes. Without suppression the userId begins anew.
6. `erase_chunk`: the events go, some thousands at a time. The scanner does what is left of that.

After the first `suppress` nothing can join the person: an anonymousId joins by a link that names
the userId. What is not suppressed yet goes on: events of the anonymousId come to the person, to be
erased with all others, or an earlier link of another user takes it away, and it is the other
user's, as if it had come a moment before the command. So there are only ever fewer left, and when
`suppress` finds none nothing can leave either. A visitor who is nobody's has just one anonymousId.

Identity is then that of the events that are left, in which the person's anonymousIds do not occur.
For all others it holds at each step: an event of another user with an anonymousId of the person is
never that anonymousId's earliest link, or the anonymousId would be the other user's. An audit
leaves the person out from the first step on.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from merganser.identity import store
from merganser.runtime import sql

_SQL = sql.load(__package__, "forget.sql")


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


async def suppress(connection: AsyncConnection[Any], profile: str, at_most: int) -> list[str]:
    """Let a person's events and some more of the anonymousIds be stored no more: these, if any.

    In a transaction of its own.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction that plans goes on and on; try again.
    """
    await connection.execute(_SQL["patience"])
    await connection.execute(_SQL["hold_planners"])
    await connection.execute(_SQL["begin"], {"profile": profile})
    cursor = await connection.execute(_SQL["suppress"], {"profile": profile, "at_most": at_most})
    return [anonymous_id for (anonymous_id,) in await cursor.fetchall()]


async def clear_way(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str], at_most: int
) -> bool:
    """Bring some events home and take ids off some events of others; whether there may be more."""
    if move := await store.next_move_of(connection, profile, anonymous_ids):
        await store.move_chunk(connection, move, at_most)
        return True
    cursor = await connection.execute(
        _SQL["take_ids_off"],
        {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids), "at_most": at_most},
    )
    return cursor.rowcount == at_most


async def forget_visitors(
    connection: AsyncConnection[Any],
    profile: str,
    anonymous_ids: Collection[str],
    *,
    suppressed: bool,
) -> None:
    """Forget anonymousIds of a person, once the way is clear.

    Args:
        connection: in a transaction.
        profile: the person's.
        anonymous_ids: what `suppress` said.
        suppressed: whether it is to stay so that they are not stored.
    """
    cursor = await connection.execute(
        _SQL["hold_visitors"], {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
    )
    held = [anonymous_id for (anonymous_id,) in await cursor.fetchall()]
    scope = {"anonymous_ids": sql.texts(held)}
    for statement in ("forget_merges", "forget_visitors"):
        await connection.execute(_SQL[statement], scope)
    if not suppressed:
        await connection.execute(_SQL["lift_visitors"], scope)


async def clear_trail(connection: AsyncConnection[Any], profile: str, at_most: int) -> bool:
    """Bring some events home and change some merges of others; whether there may be more."""
    if move := await store.next_move_of(connection, profile):
        await store.move_chunk(connection, move, at_most)
        return True
    scope = {"profile": profile, "at_most": at_most}
    for statement in ("forget_way", "unname_loser"):
        if (await connection.execute(_SQL[statement], scope)).rowcount == at_most:
            return True
    return False


async def forget(connection: AsyncConnection[Any], profile: str, *, suppressed: bool) -> None:
    """Forget a person without anonymousIds and trail; the events are left to `erase_chunk`.

    Args:
        connection: in a transaction. What other rooms know of the profile is to go in it, too.
        profile: after `suppress` until there was no anonymousId, then `clear_trail`.
        suppressed: whether it is to stay so that events of the userId are not stored.
    """
    scope = {"profile": profile}
    if not suppressed:
        await connection.execute(_SQL["lift_user"], scope)
    await connection.execute(_SQL["forget_profile"], scope)


async def next_erasure(connection: AsyncConnection[Any]) -> str | None:
    """The profile that was forgotten first of those whose events are not all erased.

    One that is set aside is left out. The transaction holds its lock until its end.
    """
    row = await (await connection.execute(_SQL["next_erasure"])).fetchone()
    return None if row is None else str(row[0])


async def erase_chunk(connection: AsyncConnection[Any], profile: str, at_most: int) -> int:
    """Delete some of the events of a forgotten profile that the transaction has locked.

    Returns:
        How many were deleted; fewer than `at_most` if the erasure is finished.
    """
    scope = {"profile": profile}
    cursor = await connection.execute(_SQL["erase"], {**scope, "at_most": at_most})
    (erased,) = await cursor.fetchone() or (0,)
    if erased < at_most:
        await connection.execute(_SQL["finish"], scope)
    return int(erased)


async def readmit(connection: AsyncConnection[Any], name: str) -> bool:
    """Let a userId or anonymousId be stored again; whether it was not."""
    return (await connection.execute(_SQL["readmit"], {"name": name})).rowcount > 0
