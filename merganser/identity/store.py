"""Applies plans to Postgres: reads and locks what is known, plans, and writes the plan.

A few statements for a batch of any size, in the caller's transaction, so that identity, rows and
offsets are committed together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import UniqueViolation

from merganser.identity.plan import (
    AnonymousId,
    EventIds,
    Known,
    Link,
    Merge,
    NewProfile,
    Plan,
    make_plan,
)
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind

_SQL = sql.load(__package__, "store.sql")


class Contended(UniqueViolation):
    """Another worker created the same profile or anonymousId at the same time: retry."""


async def resolve(
    connection: AsyncConnection[Any], batch: Sequence[EventIds], move_limit: int
) -> Plan:
    """Plan the identity of a batch and write it, but not the events' own rows.

    Args:
        connection: in a READ COMMITTED transaction, which keeps the locks until its end.
        batch: events in any order; some may be repeated, or known already.
        move_limit: older events that this transaction may move to another profile. If there are
            more, the move is queued for `move_chunk`.

    Returns:
        The plan. The caller stores each event with its profile in `event_profiles`, none that has
        no profile there, those in `detached_events` without their anonymousId, and those in
        `events_without_user` without their userId.

    Raises:
        Contended: roll back and retry.
    """
    async with connection.cursor() as cursor:
        known = await read_known(cursor, batch)
        plan = make_plan(known, batch)
        created = await insert_profiles(cursor, plan.new_profiles)
        if missing := {profile.guid for profile in plan.new_profiles} - created:
            replaced_guids = await _replace_taken_guids(cursor, missing)
            plan = make_plan(replace(known, replaced_guids=replaced_guids), batch)
            replacements = [p for p in plan.new_profiles if p.guid not in created]
            if len(await insert_profiles(cursor, replacements)) != len(missing):
                raise Contended("profiles")
        await write_plan(cursor, plan, move_limit)
    return plan


class PendingMove(NamedTuple):
    """A merge or move some of whose events are still on their old profile."""

    anonymous_id: str
    loser: str
    """Guid of the profile that the events leave."""
    survivor: str
    """Guid of the profile that they go to."""


async def lock_next_move(connection: AsyncConnection[Any]) -> PendingMove | None:
    """Return the oldest pending move that no other worker has locked and that is not set aside.

    Args:
        connection: in a READ COMMITTED transaction, which keeps the lock until its end.
    """
    row = await (await connection.execute(_SQL["lock_next_move"])).fetchone()
    return None if row is None else PendingMove(*row)


async def lock_move_of(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str] = ()
) -> PendingMove | None:
    """Return a pending move from a profile or of anonymousIds, even if it is set aside.

    Args:
        connection: in a transaction. It waits until another worker releases its lock.
        profile: guid of the profile that the events leave.
        anonymous_ids: whose moves count as well, from any profile.
    """
    scope = {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
    row = await (await connection.execute(_SQL["lock_move_of"], scope)).fetchone()
    return None if row is None else PendingMove(*row)


async def move_chunk(connection: AsyncConnection[Any], move: PendingMove, at_most: int) -> int:
    """Move some events of a pending move.

    Args:
        connection: in the READ COMMITTED transaction that has locked the move.
        move: which one.
        at_most: number of events.

    Returns:
        How many events were moved. If fewer than `at_most`, the move is finished.
    """
    moved = 0
    if move.loser != move.survivor:  # else a later plan has moved the anonymousId back
        cursor = await connection.execute(
            _SQL["move_events"],
            {
                "anonymous_ids": sql.texts([move.anonymous_id]),
                "losers": sql.texts([move.loser]),
                "survivors": sql.texts([move.survivor]),
                "at_most": at_most,
            },
        )
        moved = cursor.rowcount
    if moved < at_most:
        scope = {"anonymous_id": move.anonymous_id, "loser": move.loser}
        await connection.execute(_SQL["finish_move"], scope)
        await set_aside.delete_places(connection, Kind.MOVE, [move.loser], [move.anonymous_id])
    return moved


async def count_moves(connection: AsyncConnection[Any]) -> int:
    """Return the number of pending moves."""
    (count,) = await (await connection.execute(_SQL["count_moves"])).fetchone() or (0,)
    return int(count)


async def read_known(cursor: AsyncCursor[Any], batch: Sequence[EventIds]) -> Known:
    """Lock the anonymousIds of a batch and return what is known of its ids.

    Args:
        cursor: in a READ COMMITTED transaction, which keeps the locks until its end.
        batch: some events.
    """
    batch_anonymous_ids = {event.anonymous_id for event in batch} - {None}
    batch_user_ids = {event.user_id for event in batch} - {None}
    anonymous_ids: dict[str, AnonymousId] = {}
    user_profiles: dict[str, str] = {}
    suppressed_anonymous_ids: set[str] = set()
    suppressed_user_ids: set[str] = set()
    placeholders: set[str] = set()
    ignored_links: set[str] = set()
    if batch_anonymous_ids:
        await cursor.execute(
            _SQL["lock_anonymous_ids"], {"anonymous_ids": sql.texts(batch_anonymous_ids)}
        )
        for anonymous_id, profile, *link in await cursor.fetchall():
            if profile is None:
                suppressed_anonymous_ids.add(anonymous_id)
            else:
                known_link = None if link[-1] is None else Link(*link)
                anonymous_ids[anonymous_id] = AnonymousId(profile, known_link)
    # After the locks, to see the users that the previous holder of a lock has created.
    if batch_user_ids:
        links = {event.guid for event in batch if event.user_id and event.anonymous_id}
        await cursor.execute(
            _SQL["read_users"], {"user_ids": sql.texts(batch_user_ids), "links": sql.texts(links)}
        )
        for kind, name, profile in await cursor.fetchall():
            match kind:
                case "user":
                    user_profiles[name] = profile
                case "userId":
                    suppressed_user_ids.add(name)
                case "placeholder":
                    placeholders.add(name)
                case _:
                    ignored_links.add(name)
    return Known(
        user_profiles,
        anonymous_ids,
        suppressed_user_ids,
        suppressed_anonymous_ids,
        placeholders,
        ignored_links,
    )


async def insert_profiles(cursor: AsyncCursor[Any], profiles: Sequence[NewProfile]) -> set[str]:
    """Insert new profiles and return the guids of those that were inserted."""
    if not profiles:
        return set()
    guids, user_ids = zip(*profiles, strict=True)
    await cursor.execute(
        _SQL["insert_profiles"], {"guids": sql.texts(guids), "user_ids": sql.texts(user_ids)}
    )
    return {guid for (guid,) in await cursor.fetchall()}


async def _replace_taken_guids(cursor: AsyncCursor[Any], guids: Collection[str]) -> dict[str, str]:
    """Return new guids for those that are taken; the others failed because of another worker."""
    await cursor.execute(_SQL["replace_taken_guids"], {"guids": sql.texts(guids)})
    return dict(await cursor.fetchall())


async def write_plan(cursor: AsyncCursor[Any], plan: Plan, move_limit: int) -> None:
    """Write a plan whose new profiles are inserted.

    Args:
        cursor: in the transaction that has locked the anonymousIds.
        plan: what to write.
        move_limit: as in `resolve`.
    """
    if claims := [merge for merge in plan.merges if merge.reason == "claimed"]:
        await cursor.execute(
            _SQL["claim_profiles"],
            {
                "guids": sql.texts(merge.survivor for merge in claims),
                "user_ids": sql.texts(merge.user_id for merge in claims),
            },
        )
    if plan.new_anonymous_ids:
        columns = _anonymous_id_columns(plan.new_anonymous_ids)
        await cursor.execute(_SQL["insert_anonymous_ids"], columns)
        if cursor.rowcount != len(plan.new_anonymous_ids):
            raise Contended("anonymousIds")
    if plan.changed_anonymous_ids:
        columns = _anonymous_id_columns(plan.changed_anonymous_ids)
        await cursor.execute(_SQL["update_anonymous_ids"], columns)
    if plan.merges:
        await cursor.execute(_SQL["insert_merges"], _merge_columns(plan.merges))
        await _move_events(cursor, [merge for merge in plan.merges if merge.loser], move_limit)


async def _move_events(cursor: AsyncCursor[Any], merges: Sequence[Merge], move_limit: int) -> None:
    """Move the events of merged and moved anonymousIds; queue the moves if there are too many."""
    if not merges:
        return
    if losers := [merge.loser for merge in merges if merge.reason == "merged"]:
        await cursor.execute(_SQL["delete_profiles"], {"guids": sql.texts(losers)})
    columns = _merge_columns(merges)
    await cursor.execute(_SQL["move_events"], {**columns, "at_most": move_limit})
    if cursor.rowcount == move_limit:
        await cursor.execute(_SQL["queue_moves"], columns)


def _anonymous_id_columns(anonymous_ids: Mapping[str, AnonymousId]) -> dict[str, Any]:
    links = [known.link or (None, None, None, None) for known in anonymous_ids.values()]
    return {
        "anonymous_ids": sql.texts(anonymous_ids),
        "profiles": sql.texts(known.profile for known in anonymous_ids.values()),
        "linked_at": [linked_at for linked_at, _, _, _ in links],
        "occurred_at": [occurred_at for _, occurred_at, _, _ in links],
        "link_events": sql.texts(event for _, _, event, _ in links),
        "user_ids": sql.texts(user_id for _, _, _, user_id in links),
    }


def _merge_columns(merges: Sequence[Merge]) -> dict[str, str]:
    return {
        "anonymous_ids": sql.texts(merge.anonymous_id for merge in merges),
        "events": sql.texts(merge.event for merge in merges),
        "user_ids": sql.texts(merge.user_id for merge in merges),
        "reasons": sql.texts(merge.reason for merge in merges),
        "losers": sql.texts(merge.loser for merge in merges),
        "survivors": sql.texts(merge.survivor for merge in merges),
    }
