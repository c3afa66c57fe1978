"""Forgets a person while events keep arriving, in short transactions that can be repeated.

`merganser/admin/forget.py` calls the steps in this order:

1. `suppress_ids` suppresses the person's userId and some of the person's anonymousIds: from its
   commit on, no event of the userId is stored, and no event keeps one of these anonymousIds. It
   waits for plans under way and blocks new ones until it commits.
2. `detach_anonymous_ids` finishes pending moves of these anonymousIds and out of this profile.
   Then it removes these anonymousIds from other users' events and their data; the events stay.
3. `forget_anonymous_ids` deletes these anonymousIds and their merges. Without suppression it lifts
   the suppression in the same transaction: the ids can be used again from scratch.
   Repeat steps 1 to 3 until no anonymousId is left.
4. `forget_merges` finishes pending moves out of this profile, and removes the profile from the
   merges of other people's anonymousIds.
5. `forget_profile` deletes the profile. Without suppression it lifts that of the userId.
6. `erase_chunk` deletes the events, some thousands at a time. The scanner finishes erasures that
   the command left.

Why it ends
    After the first `suppress_ids`, no anonymousId can join the person, as that takes a link with
    the userId. An anonymousId that is not suppressed yet can leave, by an earlier link of another
    user. So there are fewer and fewer, and once `suppress_ids` finds none, none can leave either.
    An anonymous profile has exactly one anonymousId.

Why other people's profiles stay correct
    Identity is then that of the remaining events, in which the person's anonymousIds do not occur.
    Another user's event with one of these anonymousIds is never its earliest link, or the
    anonymousId would belong to that user. An audit ignores the person from step 1 on.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from merganser.identity import store
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind

_SQL = sql.load(__package__, "forget.sql")


@dataclass(frozen=True, slots=True)
class Person:
    """A profile to forget."""

    profile: str
    user_id: str | None
    events: int
    """Number of events."""
    anonymous_ids: int
    """Number of anonymousIds."""


class Suppression(NamedTuple):
    """Since when an id is suppressed."""

    kind: Literal["userId", "anonymousId", "placeholder"]
    """What the id is; of a placeholder, events are stored without it."""
    since: datetime


async def find_person(connection: AsyncConnection[Any], name: str) -> Person | None:
    """Return the person with this userId or profile guid, even if that profile was merged."""
    cursor = await connection.execute(_SQL["find_person"], {"name": name})
    row = await cursor.fetchone()
    return None if row is None else Person(*row)


async def suppress_ids(connection: AsyncConnection[Any], profile: str, at_most: int) -> list[str]:
    """Suppress the userId and some of the anonymousIds of a profile.

    Args:
        connection: in a transaction for this call only.
        profile: guid.
        at_most: number of anonymousIds.

    Returns:
        The anonymousIds; empty if none is left.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction with a plan takes very long; retry.
    """
    await connection.execute(_SQL["set_lock_timeout"])
    await connection.execute(_SQL["lock_suppressed_ids"])
    await connection.execute(_SQL["insert_erasure"], {"profile": profile})
    cursor = await connection.execute(
        _SQL["suppress_ids"], {"profile": profile, "at_most": at_most}
    )
    return [anonymous_id for (anonymous_id,) in await cursor.fetchall()]


async def detach_anonymous_ids(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str], at_most: int
) -> bool:
    """Finish pending moves, then remove these anonymousIds from other users' events.

    Args:
        connection: in a transaction.
        profile: guid.
        anonymous_ids: as returned by `suppress_ids`.
        at_most: events to change.

    Returns:
        Whether there may be more to do.
    """
    if move := await store.lock_move_of(connection, profile, anonymous_ids):
        await store.move_chunk(connection, move, at_most)
        return True
    cursor = await connection.execute(
        _SQL["remove_from_events_of_others"],
        {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids), "at_most": at_most},
    )
    return cursor.rowcount == at_most


async def forget_anonymous_ids(
    connection: AsyncConnection[Any],
    profile: str,
    anonymous_ids: Collection[str],
    *,
    suppressed: bool,
) -> None:
    """Delete anonymousIds and their merges, after `detach_anonymous_ids` returned False.

    Args:
        connection: in a transaction.
        profile: guid.
        anonymous_ids: as returned by `suppress_ids`; those that another user owns by now stay.
        suppressed: whether they stay suppressed.
    """
    cursor = await connection.execute(
        _SQL["lock_anonymous_ids"], {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
    )
    scope = {"anonymous_ids": sql.texts([id_ for (id_,) in await cursor.fetchall()])}
    for statement in ("delete_merges", "delete_anonymous_ids"):
        await connection.execute(_SQL[statement], scope)
    if not suppressed:
        await connection.execute(_SQL["lift_anonymous_ids"], scope)


async def forget_merges(connection: AsyncConnection[Any], profile: str, at_most: int) -> bool:
    """Finish pending moves out of a profile, then remove it from the merges of other people.

    Args:
        connection: in a transaction.
        profile: guid.
        at_most: events or merges to change.

    Returns:
        Whether there may be more to do.
    """
    if move := await store.lock_move_of(connection, profile):
        await store.move_chunk(connection, move, at_most)
        return True
    scope = {"profile": profile, "at_most": at_most}
    for statement in ("delete_survivor", "delete_unlinks", "clear_loser"):
        if (await connection.execute(_SQL[statement], scope)).rowcount == at_most:
            return True
    return False


async def forget_profile(
    connection: AsyncConnection[Any], profile: str, *, suppressed: bool
) -> None:
    """Delete a profile that has no anonymousIds and no merges; `erase_chunk` deletes its events.

    Args:
        connection: in a transaction, in which the caller deletes the profile's properties, too.
        profile: guid.
        suppressed: whether the userId stays suppressed.
    """
    scope = {"profile": profile}
    if not suppressed:
        await connection.execute(_SQL["lift_user_id"], scope)
    await connection.execute(_SQL["delete_profile"], scope)


async def lock_next_erasure(connection: AsyncConnection[Any]) -> str | None:
    """Return the profile guid of the oldest erasure that is not finished and not set aside.

    Args:
        connection: in a transaction, which keeps the lock until its end.
    """
    row = await (await connection.execute(_SQL["lock_next_erasure"])).fetchone()
    return None if row is None else str(row[0])


async def erase_chunk(connection: AsyncConnection[Any], profile: str, at_most: int) -> int:
    """Delete some events of a forgotten profile.

    Args:
        connection: in the transaction that has locked the erasure.
        profile: guid.
        at_most: number of events.

    Returns:
        How many events were deleted. If fewer than `at_most`, the erasure is finished.
    """
    scope = {"profile": profile}
    cursor = await connection.execute(_SQL["delete_events"], {**scope, "at_most": at_most})
    (erased,) = await cursor.fetchone() or (0,)
    if erased < at_most:
        await connection.execute(_SQL["finish_erasure"], scope)
        await set_aside.delete(connection, [*Kind], [profile])
    return int(erased)


async def readmit(connection: AsyncConnection[Any], name: str) -> bool:
    """Lift the suppression of a userId or anonymousId; return whether it was suppressed."""
    return (await connection.execute(_SQL["readmit"], {"name": name})).rowcount > 0


async def find_suppressions(connection: AsyncConnection[Any], name: str) -> list[Suppression]:
    """Return as which kinds of id an id is suppressed; empty if it is not."""
    cursor = await connection.execute(_SQL["find_suppressions"], {"name": name})
    return [Suppression(*row) for row in await cursor.fetchall()]
