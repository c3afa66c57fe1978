"""Ignore a link, or reverse that: an operator corrects a wrong merge.

A change is one short transaction. It locks the anonymousId, so plans of the same anonymousId come
before or after it. Events that are too many for the transaction follow in chunks, like those of a
large merge (`store.move_chunk`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection, AsyncCursor

from merganser.identity import person_ids, store
from merganser.identity.plan import AnonymousId, EventIds, Link, Plan, make_unlink_plan
from merganser.runtime import sql
from schemas import ids

_SQL = sql.load(__package__, "unlink.sql")

MAX_REASON_CHARACTERS = 1000

MAX_TRAIL = 20
"""Changes of a link that are listed, newest first."""

Direction = Literal["unlink", "relink"]
"""Ignore a link, or make it a link again."""


class NotALink(Exception):
    """The event cannot be ignored as a link; the message says why."""


class ReasonHasId(Exception):
    """The reason contains an id of the change, which the trail would keep."""

    def __init__(self) -> None:
        # The trail stays with the user's event when the owner of the anonymousId is erased.
        super().__init__("the reason contains an id of the person, and it is kept: leave it out")


@dataclass(frozen=True, slots=True)
class LinkChange:
    """What ignoring a link, or reversing that, changes."""

    event: str
    """Guid."""
    user_id: str
    anonymous_id: str
    links: int
    """Number of events that are ignored now and were not before, or the reverse."""
    loser: str
    """Guid of the profile that the anonymousId's own events leave."""
    survivor: str | None
    """Guid of the profile that they go to, `loser` if they stay; None: a new anonymous profile."""
    owner: str | None
    """UserId of the owner afterwards."""
    events: int
    """Number of the anonymousId's own events on the profile that they leave."""
    is_pruned: bool = False
    """Whether the event was pruned: once ignored, it cannot be a link again."""
    trail: str | None = field(default=None, compare=False)
    """Guid of a row of the trail; None if nothing changed. A preview's row is rolled back."""


class TrailEntry(NamedTuple):
    """Who ignored a link, or reversed that."""

    action: Literal["unlinked", "relinked"]
    actor: str
    reason: str
    at: datetime


async def read_trail(connection: AsyncConnection[Any], event: str) -> list[TrailEntry]:
    """Return what operators did with an event as a link, newest first."""
    values = {"event": event, "at_most": MAX_TRAIL}
    cursor = await connection.execute(_SQL["read_trail"], values)
    return [TrailEntry(*row) for row in await cursor.fetchall()]


async def read_ignored(connection: AsyncConnection[Any], events: Collection[str]) -> set[str]:
    """Return which of these events are ignored as links."""
    cursor = await connection.execute(_SQL["read_ignored"], {"events": sql.texts(events)})
    return {event for (event,) in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Unlinker:
    """Changes which events are links."""

    nobody_ids: Collection[str]
    """Ids that mean nobody, as `schemas.ids.folded` returns them."""
    move_limit: int
    """Older events that one transaction may move to another profile."""

    async def change(
        self,
        connection: AsyncConnection[Any],
        direction: Direction,
        event: str,
        actor: str,
        reason: str,
        *,
        every: bool = False,
        preview: bool = False,
    ) -> LinkChange:
        """Ignore an event as a link, or let it be one again.

        Args:
            connection: in a READ COMMITTED transaction.
            direction: which of the two.
            event: guid of a stored event, or of a pruned one that is still the earliest link.
            actor: who does it.
            reason: why, for the trail.
            every: whether to change all stored links with the same two ids.
            preview: whether to roll everything back, and only return what would change.

        Raises:
            NotALink: no such event, or not one with two ids that can be unlinked.
            ReasonHasId: the reason contains one of its ids, or the owner's afterwards.
            store.Contended: roll back and retry.
        """
        work = self._unlink if direction == "unlink" else self._relink
        async with connection.transaction(force_rollback=preview):
            change = await work(connection, event, actor, reason, every=every)
            named = filter(None, (change.user_id, change.anonymous_id, change.owner))
            if person_ids.contains(reason, named):
                raise ReasonHasId
            return change

    async def _unlink(
        self, connection: AsyncConnection[Any], event: str, actor: str, reason: str, *, every: bool
    ) -> LinkChange:
        async with connection.cursor() as cursor:
            link, known, is_pruned = await self._lock(cursor, event)
            links = {link.guid}
            if every:
                links |= {same.guid for same in await _read_same_links(cursor, link)}
                if known.link and known.link.user_id == link.user_id:
                    links.add(known.link.guid)  # its event may be pruned
            ignored = await _change_ignored(cursor, "ignore", links)
            plan = await self._plan_unlink(cursor, link, known, ignored)
            events = await _count_own_events(cursor, link, known)
            if plan:
                await store.insert_profiles(cursor, plan.new_profiles)
                await store.write_plan(cursor, plan, self.move_limit)
            trail = await _write_trail(cursor, ignored, "unlink", actor, reason)
        return _describe(link, known, plan, events, trail, is_pruned=is_pruned)

    async def _relink(
        self, connection: AsyncConnection[Any], event: str, actor: str, reason: str, *, every: bool
    ) -> LinkChange:
        async with connection.cursor() as cursor:
            link, known, is_pruned = await self._lock(cursor, event)
            same = await _read_same_links(cursor, link) if every else [link]
            relinked = await _change_ignored(cursor, "stop_ignoring", {link.guid for link in same})
            events = await _count_own_events(cursor, link, known)
            trail = await _write_trail(cursor, relinked, "relink", actor, reason)
            links = [link for link in same if link.guid in relinked]
            plan = await store.resolve(connection, links, self.move_limit) if links else None
        return _describe(link, known, plan, events, trail, is_pruned=is_pruned)

    async def _lock(
        self, cursor: AsyncCursor[Any], event: str
    ) -> tuple[EventIds, AnonymousId, bool]:
        """Return the event, what is known of its anonymousId, and whether the event was pruned.

        Lock the anonymousId.
        """
        link, is_pruned = await self._read_link(cursor, event)
        known = await store.read_known(cursor, [link])
        anonymous_id = known.anonymous_ids.get(link.anonymous_id or "")
        # Meanwhile a plan of the same anonymousId, or `forget`, may have finished.
        if anonymous_id is None or await self._read_link(cursor, event) != (link, is_pruned):
            raise NotALink("its anonymousId is suppressed or being erased")
        return link, anonymous_id, is_pruned

    async def _read_link(self, cursor: AsyncCursor[Any], event: str) -> tuple[EventIds, bool]:
        await cursor.execute(_SQL["read_link"], {"event": event, **self._nobody()})
        row = await cursor.fetchone()
        if row is None:
            if await read_ignored(cursor.connection, [event]):
                raise NotALink("it was unlinked and then pruned, so nobody knows its ids any more")
            raise NotALink(
                "no stored event with this guid has a userId and an anonymousId that name somebody"
            )
        *link, is_pruned = row
        return EventIds(*link), is_pruned

    async def _plan_unlink(
        self,
        cursor: AsyncCursor[Any],
        link: EventIds,
        known: AnonymousId,
        ignored: Collection[str],
    ) -> Plan | None:
        """Return what to write, or None if the earliest link is not among the ignored ones."""
        anonymous_id, earliest = link.anonymous_id, known.link
        if anonymous_id is None or earliest is None or earliest.guid not in ignored:
            return None
        await cursor.execute(
            _SQL["read_next_link"], {"anonymous_id": anonymous_id, **self._nobody()}
        )
        row = await cursor.fetchone()
        if row is None:
            await cursor.execute(_SQL["new_profile_guid"])
            (survivor,) = await cursor.fetchone() or ("",)
            return make_unlink_plan(anonymous_id, known.profile, earliest.guid, None, survivor)
        *next_link, survivor = row
        return make_unlink_plan(
            anonymous_id, known.profile, earliest.guid, Link(*next_link), survivor
        )

    def _nobody(self) -> dict[str, Any]:
        return {"nobody": list(self.nobody_ids), "space": ids.WHITE_SPACE}


async def read_changes(
    connection: AsyncConnection[Any], guids: Collection[str]
) -> dict[str, tuple[str, str]]:
    """Return the event and the reason of each row of the trail that still exists, by its guid."""
    cursor = await connection.execute(_SQL["read_changes"], {"guids": sql.texts(guids)})
    return {guid: (event, reason) for guid, event, reason in await cursor.fetchall()}


def _describe(
    link: EventIds,
    known: AnonymousId,
    plan: Plan | None,
    events: int,
    trail: Collection[str],
    *,
    is_pruned: bool,
) -> LinkChange:
    anonymous_id = link.anonymous_id or ""
    after = plan.changed_anonymous_ids.get(anonymous_id, known) if plan else known
    created = {profile.guid for profile in plan.new_profiles} if plan else set()
    return LinkChange(
        event=link.guid,
        user_id=link.user_id or "",
        anonymous_id=anonymous_id,
        links=len(trail),
        loser=known.profile,
        survivor=None if after.profile in created else after.profile,
        owner=after.link.user_id if after.link else None,
        events=0 if after.profile == known.profile else events,
        is_pruned=is_pruned,
        trail=min(trail, default=None),
    )


async def _count_own_events(cursor: AsyncCursor[Any], link: EventIds, known: AnonymousId) -> int:
    await cursor.execute(
        _SQL["count_own_events"], {"anonymous_id": link.anonymous_id, "profile": known.profile}
    )
    (events,) = await cursor.fetchone() or (0,)
    return int(events)


async def _read_same_links(cursor: AsyncCursor[Any], link: EventIds) -> list[EventIds]:
    """Return the stored events with the two ids of an event."""
    await cursor.execute(
        _SQL["read_same_links"], {"anonymous_id": link.anonymous_id, "user_id": link.user_id}
    )
    return [EventIds(*row) for row in await cursor.fetchall()]


async def _change_ignored(
    cursor: AsyncCursor[Any], statement: str, events: Collection[str]
) -> set[str]:
    """Ignore events, or stop it, and return those for which that is a change."""
    await cursor.execute(_SQL[statement], {"events": sql.texts(events)})
    return {event for (event,) in await cursor.fetchall()}


async def _write_trail(
    cursor: AsyncCursor[Any], events: Collection[str], direction: Direction, actor: str, reason: str
) -> list[str]:
    """Write a row for each event; return the guids of the rows."""
    values = {"action": f"{direction}ed", "actor": actor, "reason": reason}
    await cursor.execute(_SQL["write_trail"], values | {"events": sql.texts(events)})
    return [guid for (guid,) in await cursor.fetchall()]
