"""Ignore an event as a link, or reverse that (docs/identity.md)."""

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import Transact, open_transactions
from merganser.admin.errors import AdminError
from merganser.admin.forget import ReasonNamesPerson
from merganser.identity import store
from merganser.identity.unlink import Direction, LinkChange, NotALink, ReasonHasId, Unlinker
from merganser.runtime.settings import Settings

CHUNK = 2000
"""Events of one transaction, which takes some tens of milliseconds."""


class CannotChangeLink(AdminError):
    """The event is not a link that can be changed."""


async def change_link(
    settings: Settings,
    direction: Direction,
    event: str,
    actor: Actor,
    reason: str,
    *,
    every: bool = False,
    preview: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> LinkChange:
    """Ignore an event as a link, or reverse that; then move the events in short transactions.

    If it is interrupted after the first transaction, the scanner moves the events that are left.

    Args:
        settings: the database's URL, and the ids that mean nobody.
        direction: whether to ignore the event as a link, or to reverse that.
        event: guid.
        actor: who does it.
        reason: why, at most `MAX_REASON_CHARACTERS`.
        every: whether to change all stored links with the same two ids.
        preview: whether to change nothing, and only return what would change.
        progress: called with the number of moved events.

    Raises:
        CannotChangeLink: the event is not a stored link.
        ReasonNamesPerson: the reason contains one of its ids, or the owner's afterwards.
    """
    unlinker = Unlinker(settings.nobody_ids, 0)

    async def work(connection: AsyncConnection[Any]) -> LinkChange:
        return await begin_change(
            connection, unlinker, direction, event, actor, reason, every=every, preview=preview
        )

    async with open_transactions(settings, direction) as transact:
        change = await transact(work)
        if not preview:
            await _move_events(transact, change.anonymous_id, progress)
    return change


async def begin_change(
    connection: AsyncConnection[Any],
    unlinker: Unlinker,
    direction: Direction,
    event: str,
    actor: Actor,
    reason: str,
    *,
    every: bool,
    preview: bool,
) -> LinkChange:
    """Change a link, with as many events as the unlinker moves; the scanner moves the rest.

    Args:
        connection: in a READ COMMITTED transaction.
        unlinker: changes it.
        direction: as for `change_link`, like the other arguments.
        event: guid.
        actor: who does it.
        reason: why.
        every: whether to change all stored links with the same two ids.
        preview: whether to change nothing.

    Raises:
        CannotChangeLink: as `change_link`.
        ReasonNamesPerson: as `change_link`.
    """
    try:
        change = await unlinker.change(
            connection, direction, event, actor.name, reason, every=every, preview=preview
        )
    except NotALink as error:
        raise CannotChangeLink(f"cannot {direction} {event}: {error}") from None
    except ReasonHasId:
        raise ReasonNamesPerson from None
    if change.trail and not preview:
        # `forget` deletes the trail, which has the guid of the event and the reason.
        counts = {"links": change.links, "events": change.events}
        await record_action(
            connection, actor, f"event {direction}ed", subject=change.trail, counts=counts
        )
    return change


def describe_change(change: LinkChange, direction: Direction) -> list[str]:
    """Return what a change does, in sentences."""
    if not change.links:
        now = "is not a link already" if direction == "unlink" else "was not unlinked"
        return [f"{change.event} {now}: nothing to do"]
    which = f"{change.event} links" if change.links == 1 else f"{change.links:,} events link"
    lines = [f"{which} anonymousId {change.anonymous_id} to user {change.user_id}"]
    if change.survivor == change.loser:
        owner = "nobody" if change.owner is None else f"user {change.owner}"
        lines.append(f"{change.anonymous_id} stays with {owner}, by another link: no event moves")
    else:
        goal = (
            "a new anonymous profile, as no other event links it"
            if change.survivor is None
            else f"{change.survivor} of user {change.owner}"
        )
        what = "1 event" if change.events == 1 else f"{change.events:,} events"
        go = "goes" if change.events == 1 else "go"
        lines.append(f"{what} of {change.anonymous_id} {go} from {change.loser} to {goal}")
    if change.is_pruned and direction == "unlink":
        lines.append(f"{change.event} was pruned: it cannot be linked again")
    return lines


async def _move_events(
    transact: Transact, anonymous_id: str, progress: Callable[[int], None]
) -> None:
    async def move_chunk(connection: AsyncConnection[Any]) -> int | None:
        move = await store.lock_move_of(connection, "", [anonymous_id])
        return None if move is None else await store.move_chunk(connection, move, CHUNK)

    total = 0
    while (moved := await transact(move_chunk)) is not None:
        total += moved
        progress(total)
