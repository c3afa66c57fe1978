"""Applies a plan to Postgres: reads and locks what is known, writes what the plan says.

A handful of set-wise statements for a batch, whatever its size. All of it happens in the caller's
transaction, beside the rows and the position, so that they stand or fall together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import UniqueViolation

from merganser.identity.plan import Known, Link, Merge, NewProfile, Plan, Sighting, Visitor, plan
from merganser.runtime import sql

_SQL = sql.load(__package__, "identity.sql")


class Contended(UniqueViolation):
    """Another worker made the same profile or anonymousId at the same moment: try again."""


async def resolve(connection: AsyncConnection[Any], batch: Sequence[Sighting], move: int) -> Plan:
    """Decide and write the identity of a batch; the events' own rows are the caller's.

    Args:
        connection: in a transaction, READ COMMITTED. It holds the locks until its end.
        batch: the events, in any order, repeated or not.
        move: how many older events may change profile in this transaction; the rest is queued
            for `move_chunk`.

    Returns:
        The plan. Where ids are suppressed (`merganser/identity/forget.py`), an event that has
        no profile in it must not be stored, and one in `unlinked` not with its anonymousId.

    Raises:
        Contended: roll back and try again with what is known then.
    """
    async with connection.cursor() as cursor:
        known = await _known(cursor, batch)
        decided = plan(known, batch)
        made = await _make_profiles(cursor, decided.profiles)
        if missing := {profile.guid for profile in decided.profiles} - made:
            renamed = await _renamed(cursor, missing)
            decided = plan(replace(known, renamed=renamed), batch)
            again = [profile for profile in decided.profiles if profile.guid not in made]
            if len(await _make_profiles(cursor, again)) != len(missing):
                raise Contended("profiles")
        await _apply(cursor, decided, move)
    return decided


class Move(NamedTuple):
    """A move whose events are not all where they belong."""

    anonymous_id: str
    loser: str
    survivor: str


async def next_move(connection: AsyncConnection[Any]) -> Move | None:
    """The oldest unfinished move that no other worker has locked and that is not set aside.

    Args:
        connection: in a transaction, READ COMMITTED, which holds the lock until its end.
    """
    row = await (await connection.execute(_SQL["next_move"])).fetchone()
    return None if row is None else Move(*row)


async def next_move_of(
    connection: AsyncConnection[Any], profile: str, anonymous_ids: Collection[str] = ()
) -> Move | None:
    """An unfinished move from a profile or of these anonymousIds, also one that is set aside.

    Args:
        connection: in a transaction; it waits for another worker's lock.
        profile: guid of the profile that the events leave.
        anonymous_ids: their moves from any profile.
    """
    scope = {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
    row = await (await connection.execute(_SQL["next_move_of"], scope)).fetchone()
    return None if row is None else Move(*row)


async def move_chunk(connection: AsyncConnection[Any], move: Move, at_most: int) -> int:
    """Move the next events of a move that the transaction has locked.

    Args:
        connection: in a transaction, READ COMMITTED.
        move: as `next_move` or `next_move_of` gave it.
        at_most: events.

    Returns:
        How many were moved; fewer than `at_most` if the move is finished.
    """
    moved = 0
    if move.loser != move.survivor:  # else: a later plan led the anonymousId back
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
    return moved


async def _known(cursor: AsyncCursor[Any], batch: Sequence[Sighting]) -> Known:
    anonymous_ids = {sighting.anonymous_id for sighting in batch} - {None}
    user_ids = {sighting.user_id for sighting in batch} - {None}
    visitors: dict[str, Visitor] = {}
    users: dict[str, str] = {}
    suppressed_users: set[str] = set()
    suppressed_visitors: set[str] = set()
    if anonymous_ids:
        await cursor.execute(_SQL["lock_visitors"], {"anonymous_ids": sql.texts(anonymous_ids)})
        for anonymous_id, profile, linked_at, link_event, user_id in await cursor.fetchall():
            if profile is None:
                suppressed_visitors.add(anonymous_id)
                continue
            link = Link(linked_at, link_event, user_id) if user_id is not None else None
            visitors[anonymous_id] = Visitor(profile, link)
    # After the locks: a user made by whoever held them is seen.
    if user_ids:
        await cursor.execute(_SQL["known_users"], {"user_ids": sql.texts(user_ids)})
        for user_id, profile in await cursor.fetchall():
            if profile is None:
                suppressed_users.add(user_id)
            else:
                users[user_id] = profile
    return Known(users, visitors, suppressed_users, suppressed_visitors)


async def _make_profiles(cursor: AsyncCursor[Any], profiles: Sequence[NewProfile]) -> set[str]:
    """Insert new profiles and return the guids of those that could be."""
    if not profiles:
        return set()
    guids, user_ids = zip(*profiles, strict=True)
    await cursor.execute(
        _SQL["insert_profiles"], {"guids": sql.texts(guids), "user_ids": sql.texts(user_ids)}
    )
    return {guid for (guid,) in await cursor.fetchall()}


async def _renamed(cursor: AsyncCursor[Any], guids: Collection[str]) -> dict[str, str]:
    """New guids for those that are taken. The others are missing because of another worker."""
    await cursor.execute(_SQL["taken_profiles"], {"guids": sql.texts(guids)})
    return dict(await cursor.fetchall())


async def _apply(cursor: AsyncCursor[Any], decided: Plan, move: int) -> None:
    """Write what a plan says beside its new profiles."""
    if claims := [merge for merge in decided.merges if merge.reason == "claimed"]:
        await cursor.execute(
            _SQL["claim_profiles"],
            {
                "guids": sql.texts(merge.survivor for merge in claims),
                "user_ids": sql.texts(merge.link.user_id for merge in claims),
            },
        )
    if decided.arrivals:
        await cursor.execute(_SQL["insert_visitors"], _visitor_columns(decided.arrivals))
        if cursor.rowcount != len(decided.arrivals):
            raise Contended("anonymousIds")
    if decided.changes:
        await cursor.execute(_SQL["update_visitors"], _visitor_columns(decided.changes))
    if decided.merges:
        await cursor.execute(_SQL["insert_merges"], _merge_columns(decided.merges))
        await _leave(cursor, [merge for merge in decided.merges if merge.loser], move)


async def _leave(cursor: AsyncCursor[Any], merges: Sequence[Merge], move: int) -> None:
    """Move the events of merged and moved anonymousIds now if they are few, else later."""
    if not merges:
        return
    if losers := [merge.loser for merge in merges if merge.reason == "merged"]:
        await cursor.execute(_SQL["delete_profiles"], {"guids": sql.texts(losers)})
    rows = _merge_columns(merges)
    await cursor.execute(_SQL["move_events"], {**rows, "at_most": move})
    if cursor.rowcount == move:
        await cursor.execute(_SQL["queue_moves"], rows)


def _visitor_columns(visitors: Mapping[str, Visitor]) -> dict[str, Any]:
    links = [visitor.link or (None, None, None) for visitor in visitors.values()]
    return {
        "anonymous_ids": sql.texts(visitors),
        "profiles": sql.texts(visitor.profile for visitor in visitors.values()),
        "linked_at": [linked_at for linked_at, _, _ in links],
        "link_events": sql.texts(event for _, event, _ in links),
        "user_ids": sql.texts(user_id for _, _, user_id in links),
    }


def _merge_columns(merges: Sequence[Merge]) -> dict[str, str]:
    return {
        "anonymous_ids": sql.texts(merge.anonymous_id for merge in merges),
        "events": sql.texts(merge.link.guid for merge in merges),
        "user_ids": sql.texts(merge.link.user_id for merge in merges),
        "reasons": sql.texts(merge.reason for merge in merges),
        "losers": sql.texts(merge.loser for merge in merges),
        "survivors": sql.texts(merge.survivor for merge in merges),
    }
