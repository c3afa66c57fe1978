"""Forgets a person while events keep arriving, in short transactions that can be repeated.

`merganser/admin/forget.py` calls the steps in this order:

1. `suppress_ids` suppresses the person's userId and some of the person's anonymousIds: from its
   commit on, no event of the userId is stored, and no event keeps one of these anonymousIds. It
   waits for plans under way and blocks new ones until it commits.
2. `detach_anonymous_ids` finishes pending moves of these anonymousIds and out of this profile.
   Then it deletes the person's rows that the scanner has not resolved, and removes these
   anonymousIds from other users' events and their data; these events stay.
3. `forget_anonymous_ids` deletes these anonymousIds and their merges. Without suppression it lifts
   the suppression in the same transaction: the ids can be used again from scratch.
   Repeat steps 1 to 3 until no anonymousId is left.
4. `forget_merges` finishes pending moves out of this profile, deletes unresolved rows of the
   userId, and removes the profile from the merges of other people's anonymousIds.
5. `forget_profile` deletes the profile. Without suppression it lifts that of the userId.
6. `erase_chunk` deletes the events, some thousands at a time. The scanner finishes erasures that
   the command left.

Each step writes to the ledger what it deleted, in its own transaction. So the ledger is exact even
if the command is killed between two steps, and it makes no difference who finishes.

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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import AsyncConnection

from merganser.identity import store
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind
from schemas import ids

_SQL = sql.load(__package__, "forget.sql")


class ProfileMerged(Exception):
    """The profile was merged into another one before its erasure began."""


SuppressionScope = Literal["all", "placeholder", "none"]
"""Which ids of an erased person are suppressed, also later; of a placeholder only itself."""

Worker = Literal["command", "scanner"]
"""Who deletes rows of an erasure."""

Action = Literal["deleted", "changed"]
"""What an erasure did to a row; a changed row no longer names the person."""


@dataclass(frozen=True, slots=True)
class Request:
    """An order to erase a person."""

    name: str
    """What the command was called with; the ledger has its hash."""
    requested_by: str
    reason: str
    suppresses: SuppressionScope
    topic_holds_ms: int | None = None
    """How long the topic of events may keep a record; -1: without limit, None: unknown."""
    dead_topic_holds_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A profile to forget."""

    profile: str
    """Guid."""
    events: int
    """Number of events."""
    anonymous_ids: int
    """Number of anonymousIds."""
    unfinished: SuppressionScope | None
    """Of the erasure that has begun and not finished."""


async def find_person(connection: AsyncConnection[Any], name: str) -> Person | None:
    """Return the person with this userId or profile guid, even if that profile was merged."""
    cursor = await connection.execute(_SQL["find_person"], {"name": name})
    row = await cursor.fetchone()
    return None if row is None else Person(*row)


async def find_erasure(connection: AsyncConnection[Any], name: str) -> Person | None:
    """Return what an unfinished erasure has still to erase, even if the profile is deleted.

    Args:
        connection: to read with.
        name: a userId or profile guid, or what an interrupted command was called with.
    """
    row = await (await connection.execute(_SQL["find_erasure"], {"name": name})).fetchone()
    return None if row is None else Person(*row)


async def suppress_ids(
    connection: AsyncConnection[Any], profile: str, request: Request, at_most: int
) -> list[str]:
    """Suppress the userId and some of the anonymousIds of a profile.

    Args:
        connection: in a transaction for this call only.
        profile: guid.
        request: counts if the erasure of this profile has not begun.
        at_most: number of anonymousIds.

    Returns:
        The anonymousIds; empty if none is left.

    Raises:
        ProfileMerged: nothing is changed.
        psycopg.errors.LockNotAvailable: a transaction with a plan takes very long; retry.
    """
    await begin(connection, profile, request)
    cursor = await connection.execute(
        _SQL["suppress_ids"], {"profile": profile, "at_most": at_most}
    )
    return [anonymous_id for (anonymous_id,) in await cursor.fetchall()]


async def begin(connection: AsyncConnection[Any], profile: str, request: Request) -> None:
    """Write an erasure to the ledger unless it has begun, after `lock_suppressed_ids`.

    Args:
        connection: in the transaction that suppresses the first ids.
        profile: guid.
        request: counts if the erasure of this profile has not begun.

    Raises:
        ProfileMerged: nothing is changed.
        psycopg.errors.LockNotAvailable: a transaction with a plan takes very long; retry.
    """
    await lock_suppressed_ids(connection)
    scope = {"profile": profile, "name": request.name}
    await connection.execute(
        _SQL["insert_erasure"],
        {
            **scope,
            "requested_by": request.requested_by,
            "reason": request.reason,
            "suppresses": request.suppresses,
            "topic_holds_ms": request.topic_holds_ms,
            "dead_topic_holds_ms": request.dead_topic_holds_ms,
        },
    )
    if not (await connection.execute(_SQL["insert_name"], scope)).rowcount:
        raise ProfileMerged


async def lock_suppressed_ids(connection: AsyncConnection[Any]) -> None:
    """Wait for plans under way, and block new ones until the transaction ends.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction with a plan takes very long; retry.
    """
    await connection.execute(_SQL["set_lock_timeout"])
    await connection.execute(_SQL["lock_suppressed_ids"])


async def detach_anonymous_ids(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str], at_most: int
) -> bool:
    """Finish pending moves and delete unresolved rows, then change other users' events.

    Args:
        connection: in a transaction.
        profile: guid.
        anonymous_ids: as returned by `suppress_ids`, to remove from other users' events.
        at_most: events to delete or change.

    Returns:
        Whether there may be more to do.
    """
    if move := await store.lock_move_of(connection, profile, anonymous_ids):
        await store.move_chunk(connection, move, at_most)
        return True
    if await _delete_rows(connection, profile, anonymous_ids, at_most):
        return True
    cursor = await connection.execute(
        _SQL["remove_from_events_of_others"],
        {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids), "at_most": at_most},
    )
    events, data = await cursor.fetchone() or (0, 0)
    await add_counts(connection, profile, "changed", {"events": events})
    await add_counts(connection, profile, "deleted", {"eventData": data})
    return bool(events == at_most)


async def _delete_rows(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str], at_most: int
) -> bool:
    """Delete rows that the scanner has not resolved; return whether there may be more."""
    cursor = await connection.execute(
        _SQL["delete_rows"],
        {
            "profile": profile,
            "anonymous_ids": sql.texts(anonymous_ids),
            "at_most": at_most,
            "nobody": list(ids.NOBODY),
            "space": ids.WHITE_SPACE,
        },
    )
    events, data, aside = await cursor.fetchone() or (0, 0, 0)
    counts = {"events": events, "eventData": data, "setAside": aside}
    await add_counts(connection, profile, "deleted", counts)
    return bool(events == at_most)


def _merge_counts(deleted: Sequence[int]) -> dict[str, int]:
    return dict(zip(("profileMerges", "ignoredLinks", "linkChanges"), deleted, strict=True))


async def forget_anonymous_ids(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str]
) -> list[str]:
    """Delete anonymousIds and their merges, after `detach_anonymous_ids` returned False.

    Args:
        connection: in a transaction.
        profile: guid.
        anonymous_ids: as returned by `suppress_ids`; those that another user owns by now stay.

    Returns:
        The profiles of these anonymousIds that were merged and so no longer exist. The caller
        deletes what other tables may still have of them.
    """
    cursor = await connection.execute(
        _SQL["lock_anonymous_ids"], {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
    )
    scope = {"anonymous_ids": sql.texts([id_ for (id_,) in await cursor.fetchall()])}
    cursor = await connection.execute(_SQL["delete_merges"], scope)
    *merges, merged = await cursor.fetchone() or (0, 0, 0, None)
    deleted = await connection.execute(_SQL["delete_anonymous_ids"], scope)
    counts = {**_merge_counts(merges), "anonymousIds": deleted.rowcount}
    await add_counts(connection, profile, "deleted", counts)
    await connection.execute(_SQL["lift_anonymous_ids"], scope)
    return merged or []


async def forget_merges(connection: AsyncConnection[Any], profile: str, at_most: int) -> bool:
    """Finish pending moves out of a profile, then remove it from the merges of other people.

    Args:
        connection: in a transaction.
        profile: guid.
        at_most: events or merges to delete or change.

    Returns:
        Whether there may be more to do.
    """
    if move := await store.lock_move_of(connection, profile):
        await store.move_chunk(connection, move, at_most)
        return True
    if await _delete_rows(connection, profile, (), at_most):
        return True
    return await delete_merges(connection, profile, at_most)


async def delete_merges(connection: AsyncConnection[Any], profile: str, at_most: int) -> bool:
    """Remove a profile from some merges of other people; return whether there may be more."""
    scope = {"profile": profile, "at_most": at_most}
    cursor = await connection.execute(_SQL["delete_merges_of_profile"], scope)
    deleted = await cursor.fetchone() or (0, 0, 0)
    await add_counts(connection, profile, "deleted", _merge_counts(deleted))
    if deleted[0] == at_most:
        return True
    cleared = (await connection.execute(_SQL["clear_loser"], scope)).rowcount
    await add_counts(connection, profile, "changed", {"profileMerges": cleared})
    return cleared == at_most


async def forget_profile(connection: AsyncConnection[Any], profile: str) -> None:
    """Delete a profile that has no anonymousIds and no merges; `erase_chunk` deletes its events.

    Args:
        connection: in a transaction, in which the caller deletes the profile's properties, too.
        profile: guid.
    """
    scope = {"profile": profile}
    await connection.execute(_SQL["lift_user_id"], scope)
    deleted = await connection.execute(_SQL["delete_profile"], scope)
    await add_counts(connection, profile, "deleted", {"profiles": deleted.rowcount})


async def add_counts(
    connection: AsyncConnection[Any],
    profile: str,
    action: Action,
    counts: Mapping[str, int],
    worker: Worker = "command",
) -> None:
    """Add to the ledger how many rows a transaction deleted or changed.

    Args:
        connection: in that transaction.
        profile: guid of the profile that is erased.
        action: what happened to the rows.
        counts: number of rows by table.
        worker: who did it.
    """
    if counts := {table: rows for table, rows in counts.items() if rows}:
        await connection.execute(
            _SQL["add_counts"],
            {
                "profile": profile,
                "action": action,
                "done_by": worker,
                "tables": sql.texts(counts),
                "rows": list(counts.values()),
            },
        )


async def lock_next_erasure(connection: AsyncConnection[Any]) -> str | None:
    """Return the profile guid of the oldest erasure that is not finished and not set aside.

    Args:
        connection: in a transaction, which keeps the lock until its end.
    """
    row = await (await connection.execute(_SQL["lock_next_erasure"])).fetchone()
    return None if row is None else str(row[0])


async def lock_erasure(connection: AsyncConnection[Any], profile: str) -> bool:
    """Return whether the erasure of this profile has only events left to delete, and lock it.

    Args:
        connection: in a transaction, which keeps the lock until its end.
        profile: guid.
    """
    cursor = await connection.execute(_SQL["lock_erasure"], {"profile": profile})
    return await cursor.fetchone() is not None


async def erase_chunk(
    connection: AsyncConnection[Any], profile: str, at_most: int, worker: Worker
) -> int:
    """Delete some events of a forgotten profile.

    Args:
        connection: in the transaction that has locked the erasure.
        profile: guid.
        at_most: number of events.
        worker: who does it.

    Returns:
        How many events were deleted. If fewer than `at_most`, the erasure is finished.
    """
    scope = {"profile": profile}
    cursor = await connection.execute(_SQL["delete_events"], {**scope, "at_most": at_most})
    erased, data, ignored, trail, aside = await cursor.fetchone() or (0, 0, 0, 0, 0)
    counts = {"events": erased, "eventData": data, "ignoredLinks": ignored, "linkChanges": trail}
    counts["setAside"] = aside
    is_last = erased < at_most
    if is_last:
        counts["setAside"] += await set_aside.delete(connection, [*Kind], [profile])
    await add_counts(connection, profile, "deleted", counts, worker)
    if is_last:
        await connection.execute(_SQL["finish_erasure"], scope)
    return int(erased)
