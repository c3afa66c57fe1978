"""Say that an event is not a link, or that it is one again (docs/identity.md)."""

from collections.abc import Callable
from typing import Any, Literal

from psycopg import AsyncConnection, Rollback

from merganser.admin.database import Transact, open_transactions
from merganser.admin.errors import AdminError
from merganser.identity import store
from merganser.identity.unlink import LinkChange, NotALink, Unlinker
from merganser.runtime.settings import Settings

CHUNK = 2000
"""Events of one transaction, which takes some tens of milliseconds."""

Direction = Literal["unlink", "relink"]


class CannotChangeLink(AdminError):
    """The event is not a link that can be changed."""


async def preview_link_change(settings: Settings, event: str, direction: Direction) -> LinkChange:
    """Return what `change_link` would change: it runs in a transaction that is rolled back.

    Args:
        settings: the database's URL, and the ids that mean nobody.
        event: guid.
        direction: whether to ignore the event as a link, or to take that back.

    Raises:
        CannotChangeLink: the event is not a stored link.
    """

    async def work(connection: AsyncConnection[Any]) -> LinkChange:
        async with connection.transaction() as transaction:
            change = await _change(connection, Unlinker(nobody_ids, 0), event, direction, "", "-")
            raise Rollback(transaction)
        return change

    nobody_ids = settings.nobody_ids
    async with open_transactions(settings, direction) as transact:
        return await transact(work)


async def change_link(
    settings: Settings,
    event: str,
    direction: Direction,
    actor: str,
    reason: str,
    progress: Callable[[int], None],
) -> LinkChange:
    """Ignore an event as a link, or take that back; then move the events in short transactions.

    If it is interrupted after the first transaction, the scanner moves the events that are left.

    Args:
        settings: as in `preview_link_change`.
        event: guid.
        direction: as in `preview_link_change`.
        actor: who does it.
        reason: why, at most `MAX_REASON_CHARACTERS`.
        progress: called with the number of moved events.

    Raises:
        CannotChangeLink: the event is not a stored link.
    """

    async def work(connection: AsyncConnection[Any]) -> LinkChange:
        unlinker = Unlinker(settings.nobody_ids, 0)
        return await _change(connection, unlinker, event, direction, actor, reason)

    async with open_transactions(settings, direction) as transact:
        change = await transact(work)
        await _move_events(transact, change.anonymous_id, progress)
    return change


async def _change(
    connection: AsyncConnection[Any],
    unlinker: Unlinker,
    event: str,
    direction: Direction,
    actor: str,
    reason: str,
) -> LinkChange:
    change = unlinker.unlink if direction == "unlink" else unlinker.relink
    try:
        return await change(connection, event, actor, reason)
    except NotALink as error:
        raise CannotChangeLink(f"cannot {direction} {event}: {error}") from None


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
