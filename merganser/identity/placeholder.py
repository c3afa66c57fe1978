"""Removes a placeholder userId, such as `null`, and keeps the devices that merged into its profile.

Afterwards identity is that of all events as if none had ever had this userId.
`merganser/admin/placeholder.py` calls the steps in this order, each in short transactions:

1. `suppress` makes the userId a placeholder: from its commit on, plans ignore it. It waits for
   plans under way and blocks new ones until it commits. An audit ignores the profile from here on.
2. `change_owners` gives each anonymousId of the profile the owner by its earliest other link, or an
   anonymous profile. No anonymousId can join the profile any more, as that takes the userId.
   The anonymousId's own events, those without a userId, become a pending move: from here on,
   `forget` and `export` of the owner find them, and the scanner may move them.
3. `move_events` moves the events with an anonymousId to where it belongs now, without the userId.
   No other step moves events with the placeholder. `forget` of the owner removes its anonymousIds
   from those that are left, and step 5 deletes them.
4. `forget_merges` removes the userId from rows that are not resolved. Then it deletes the merges
   into the profile, or changes them to the owners.
5. `forget_profile` and `erase_chunk` of `forget.py` delete what is left: the profile and the events
   without an anonymousId.

If it is interrupted, run it again: each step does what is left. Live events of these anonymousIds
go to the right profile from step 2 on.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.identity import forget
from merganser.identity.forget import Request
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind
from schemas import ids

_SQL = sql.load(__package__, "placeholder.sql")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A userId that names no one, with its profile."""

    user_id: str
    profile: str
    """Guid."""
    anonymous_ids: int
    """Number of anonymousIds of the profile."""
    kept: int
    """Number of events that have an anonymousId."""
    erased: int
    """Number of events that have none."""


class EventCursor(NamedTuple):
    """The last event that `move_events` has read, in their order."""

    occurred_at: datetime
    guid: str


FIRST_EVENT = EventCursor(datetime(1, 1, 1, tzinfo=UTC), "")


async def find_placeholder(connection: AsyncConnection[Any], user_id: str) -> Placeholder | None:
    """Return a userId with its profile; None if no profile has it."""
    row = await (await connection.execute(_SQL["find"], {"user_id": user_id})).fetchone()
    return None if row is None else Placeholder(user_id, *row)


async def suppress(
    connection: AsyncConnection[Any], placeholder: Placeholder, request: Request
) -> None:
    """Let plans ignore the userId from now on.

    Args:
        connection: in a transaction for this call only.
        placeholder: as `find_placeholder` returned it.
        request: counts if the removal has not begun.

    Raises:
        forget.ProfileMerged: no profile has this guid. Nothing is changed.
        psycopg.errors.LockNotAvailable: a transaction with a plan takes very long; retry.
    """
    await forget.begin(connection, placeholder.profile, request)
    scope = {"profile": placeholder.profile, "user_id": placeholder.user_id}
    await connection.execute(_SQL["insert_placeholder"], scope)


async def change_owners(
    connection: AsyncConnection[Any],
    placeholder: Placeholder,
    nobody_ids: Collection[str],
    at_most: int,
) -> bool:
    """Give some anonymousIds of the profile their owner without the placeholder.

    Args:
        connection: in a READ COMMITTED transaction.
        placeholder: it is suppressed.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        at_most: number of anonymousIds.

    Returns:
        Whether there may be more to do.
    """
    # `forget` of a next owner waits for this transaction, or this one sees that erasure.
    await connection.execute(_SQL["share_suppressed_ids"])
    scope = {"profile": placeholder.profile, "at_most": at_most}
    cursor = await connection.execute(_SQL["next_anonymous_ids"], scope)
    if anonymous_ids := [anonymous_id for (anonymous_id,) in await cursor.fetchall()]:
        await change_owners_of(connection, placeholder.profile, anonymous_ids, nobody_ids)
    return bool(anonymous_ids)


async def change_owners_of(
    connection: AsyncConnection[Any],
    profile: str,
    anonymous_ids: Collection[str],
    nobody_ids: Collection[str],
) -> None:
    """Give anonymousIds of a profile that is being erased their next owner.

    Args:
        connection: in a READ COMMITTED transaction that has locked the suppressed ids.
        profile: guid.
        anonymous_ids: those that another profile has by now stay there.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
    """
    scope = {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
    await connection.execute(_SQL["lock_anonymous_ids"], scope)
    # After the lock, to see the links that its previous holder has written.
    cursor = await connection.execute(
        _SQL["change_owners"], {**scope, "nobody": list(nobody_ids), "space": ids.WHITE_SPACE}
    )
    changed, undone = await cursor.fetchone() or (0, 0)
    await connection.execute(_SQL["forget_unlinks"], scope)
    await forget.add_counts(connection, profile, "changed", {"anonymousIds": changed})
    await forget.add_counts(connection, profile, "deleted", {"profileMerges": undone})


async def move_events(
    connection: AsyncConnection[Any], placeholder: Placeholder, after: EventCursor, at_most: int
) -> tuple[EventCursor | None, int]:
    """Move some events of the profile that have an anonymousId, and remove the placeholder.

    Args:
        connection: in a READ COMMITTED transaction.
        placeholder: `change_owners` has returned False.
        after: the event before them.
        at_most: number of events to read.

    Returns:
        The last event that was read, None if there are no more; and the number of moved events.
    """
    scope = {"profile": placeholder.profile, "user_id": placeholder.user_id}
    cursor = await connection.execute(
        _SQL["next_events"],
        {**scope, "after_time": after.occurred_at, "after_guid": after.guid, "at_most": at_most},
    )
    rows = await cursor.fetchall()
    if not rows:
        return None, 0
    anonymous_ids = {anonymous_id for *_, anonymous_id in rows} - {None}
    await connection.execute(
        _SQL["lock_anonymous_ids"], {"anonymous_ids": sql.texts(anonymous_ids)}
    )
    guids = sql.texts(guid for _, guid, _ in rows)
    cursor = await connection.execute(_SQL["move_events"], {**scope, "guids": guids})
    moved, named, ignored, trail = await cursor.fetchone() or (0, 0, 0, 0)
    # The others do not name the placeholder, and the scanner may move them as well.
    await forget.add_counts(connection, placeholder.profile, "changed", {"events": named})
    links = {"ignoredLinks": ignored, "linkChanges": trail}
    await forget.add_counts(connection, placeholder.profile, "deleted", links)
    return EventCursor(*rows[-1][:2]), int(moved)


async def forget_merges(
    connection: AsyncConnection[Any],
    placeholder: Placeholder,
    nobody_ids: Collection[str],
    at_most: int,
) -> bool:
    """Remove the placeholder from unresolved rows, then forget the moves and merges.

    The guids of merged profiles still lead to the owners.

    Args:
        connection: in a READ COMMITTED transaction.
        placeholder: `move_events` has moved all events.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        at_most: events or merges to change or delete.

    Returns:
        Whether there may be more to do.
    """
    profile = placeholder.profile
    scope = {"profile": profile, "at_most": at_most}
    cursor = await connection.execute(_SQL["finish_moves"], scope)
    if finished := [anonymous_id for (anonymous_id,) in await cursor.fetchall()]:
        items = await set_aside.delete_places(connection, Kind.MOVE, [profile], finished)
        await forget.add_counts(connection, profile, "deleted", {"setAside": items})
        return True
    cursor = await connection.execute(
        _SQL["clear_rows"],
        {
            "user_id": placeholder.user_id,
            "nobody": list(nobody_ids),
            "space": ids.WHITE_SPACE,
            "at_most": at_most,
        },
    )
    changed, deleted, data, aside = await cursor.fetchone() or (0, 0, 0, 0)
    await forget.add_counts(connection, profile, "changed", {"events": changed})
    counts = {"events": deleted, "eventData": data, "setAside": aside}
    await forget.add_counts(connection, profile, "deleted", counts)
    if changed + deleted == at_most:
        return True
    kept = (await connection.execute(_SQL["keep_merges"], scope)).rowcount
    await forget.add_counts(connection, profile, "changed", {"profileMerges": kept})
    return kept == at_most or await forget.delete_merges(connection, profile, at_most)
