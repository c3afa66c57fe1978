"""Applies a plan to Postgres: reads and locks what is known, writes what the plan says.

A handful of set-wise statements for a batch, whatever its size. All of it happens in the caller's
transaction, beside the rows and the position, so that they stand or fall together.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import UniqueViolation

from profiles.identity import Known, Link, Merge, Plan, Sighting, Visitor, plan
from runtime import sql

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
        The plan. Where ids are suppressed (`profiles/erasure.py`), an event that has no profile in
        it must not be stored, and one in `unlinked` not with its anonymousId.

    Raises:
        Contended: roll back and try again with what is known then.
    """
    async with connection.cursor() as cursor:
        decided = plan(await _known(cursor, batch), batch)
        await _apply(cursor, decided, move)
    return decided


async def move_chunk(
    connection: AsyncConnection[Any],
    at_most: int,
    profile: str | None = None,
    anonymous_ids: Collection[str] = (),
) -> int | None:
    """Move the next events of an unfinished move; None when there is none to work on.

    Args:
        connection: in a transaction, READ COMMITTED.
        at_most: events.
        profile: only moves from it and those of `anonymous_ids`, waiting for those that others
            work on; else the oldest that nobody works on.
        anonymous_ids: see `profile`.
    """
    async with connection.cursor() as cursor:
        if profile is None:
            await cursor.execute(_SQL["next_move"])
        else:
            scope = {"profile": profile, "anonymous_ids": sql.texts(anonymous_ids)}
            await cursor.execute(_SQL["next_move_of"], scope)
        move = await cursor.fetchone()
        if move is None:
            return None
        anonymous_id, loser, survivor = move
        moved = 0
        if loser != survivor:  # else: a later plan led the anonymousId back
            await cursor.execute(
                _SQL["move_events"],
                {
                    "anonymous_ids": sql.texts([anonymous_id]),
                    "losers": sql.texts([loser]),
                    "survivors": sql.texts([survivor]),
                    "at_most": at_most,
                },
            )
            moved = cursor.rowcount
        if moved < at_most:
            await cursor.execute(
                _SQL["finish_move"], {"anonymous_id": anonymous_id, "loser": loser}
            )
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


async def _apply(cursor: AsyncCursor[Any], decided: Plan, move: int) -> None:
    if decided.profiles:
        guids, user_ids = zip(*decided.profiles, strict=True)
        await _insert(
            cursor,
            "insert_profiles",
            {"guids": sql.texts(guids), "user_ids": sql.texts(user_ids)},
            len(guids),
        )
    if claims := [merge for merge in decided.merges if merge.reason == "claimed"]:
        await cursor.execute(
            _SQL["claim_profiles"],
            {
                "guids": sql.texts(merge.survivor for merge in claims),
                "user_ids": sql.texts(merge.link.user_id for merge in claims),
            },
        )
    if decided.arrivals:
        rows = _visitor_columns(decided.arrivals)
        await _insert(cursor, "insert_visitors", rows, len(decided.arrivals))
    if decided.changes:
        await cursor.execute(_SQL["update_visitors"], _visitor_columns(decided.changes))
    if decided.merges:
        await cursor.execute(_SQL["insert_merges"], _merge_columns(decided.merges))
        await _leave(cursor, [merge for merge in decided.merges if merge.loser], move)


async def _insert(cursor: AsyncCursor[Any], name: str, rows: Mapping[str, Any], count: int) -> None:
    await cursor.execute(_SQL[name], rows)
    if cursor.rowcount != count:
        raise Contended(name)


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
