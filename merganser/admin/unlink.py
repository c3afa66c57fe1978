"""Ignore an event as a link, or reverse that (docs/identity.md)."""

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import Transact, open_transactions
from merganser.admin.errors import AdminError
from merganser.admin.forget import ReasonNamesPerson
from merganser.identity import store
from merganser.identity.person_ids import contains
from merganser.identity.unlink import Direction, LinkChange, NotALink, Unlinker
from merganser.runtime.settings import Settings

CHUNK = 2000
"""Events of one transaction, which takes some tens of milliseconds."""


class CannotChangeLink(AdminError):
    """The event is not a link that can be changed."""


async def change_link(
    settings: Settings,
    actor: Actor,
    direction: Direction,
    event: str,
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
        actor: who does it.
        direction: whether to ignore the event as a link, or to reverse that.
        event: guid.
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
        change = await unlinker.change(
            connection, direction, event, actor.name, reason, every=every, preview=preview
        )
        # The trail stays with the user's event when the owner of the anonymousId is erased.
        if contains(reason, filter(None, (change.user_id, change.anonymous_id, change.owner))):
            raise ReasonNamesPerson
        if change.trail and not preview:
            # `forget` deletes the trail, which has the guid of the event and the reason.
            await record_action(
                connection,
                actor,
                f"event {direction}ed",
                subject=change.trail,
                counts={"links": change.links, "events": change.events},
            )
        return change

    async with open_transactions(settings, direction) as transact:
        try:
            change = await transact(work)
        except NotALink as error:
            raise CannotChangeLink(f"cannot {direction} {event}: {error}") from None
        if not preview:
            await _move_events(transact, change.anonymous_id, progress)
    return change


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
