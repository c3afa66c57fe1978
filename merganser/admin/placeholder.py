"""Remove a placeholder userId: run the steps of `merganser/identity/placeholder.py`."""

from collections.abc import Callable, Collection
from typing import Any

from psycopg import AsyncConnection

from merganser.admin import forget
from merganser.admin.actions import Actor
from merganser.admin.database import Transact, open_connection, open_transactions
from merganser.admin.errors import AdminError
from merganser.admin.forget import CHUNK
from merganser.identity import forget as identity
from merganser.identity import placeholder
from merganser.identity.erasures import Erasure
from merganser.identity.forget import Request
from merganser.identity.placeholder import FIRST_EVENT, EventCursor, Placeholder
from merganser.runtime.settings import Settings

OWNER_CHUNK = 100
"""AnonymousIds that get their owners in one transaction. It reads all events with them, and events
of these anonymousIds wait for it."""


class UserNotFound(AdminError):
    """No profile has this userId."""

    def __init__(self) -> None:
        # The message goes to logs, so it does not repeat the id.
        super().__init__(
            "no profile has this userId: `merganser explain` finds the userId of a profile, and "
            "`merganser suppressed` says whether the id is a placeholder already"
        )


async def find_placeholder(settings: Settings, request: Request) -> Placeholder:
    """Return a userId with its profile, and what `remove_placeholder` would keep and erase.

    Raises:
        UserNotFound: no profile has it, and no removal of it is unfinished.
        ReasonNamesPerson: the reason contains it, or the anonymousId of a device.
        OtherErasure: an unfinished erasure does not remove a placeholder.
    """
    async with open_connection(settings, "forget") as connection:
        found = await placeholder.find_placeholder(connection, request.name)
        rest = await identity.find_erasure(connection, request.name)
        if rest and rest.unfinished != "placeholder":
            raise forget.OtherErasure
        if found is None and rest:
            found = Placeholder(request.name, rest.profile, rest.anonymous_ids, 0, rest.events)
        if found is None:
            raise UserNotFound
        await forget.check_reason(connection, found.profile, request)
    return found


async def remove_placeholder(
    settings: Settings,
    actor: Actor,
    found: Placeholder,
    request: Request,
    progress: Callable[[int], None],
) -> Erasure:
    """Remove a userId from all events, and ignore it from now on; keep its devices.

    If it is interrupted, run it again: it continues.

    Args:
        settings: the database's URL, how to reach Kafka, and the ids that mean nobody.
        actor: who removes it.
        found: as `find_placeholder` returned it.
        request: counts if the removal has not begun.
        progress: called with the number of moved and erased events.

    Returns:
        What the ledger says.

    Raises:
        PersonChanged: the profile is gone since `find_placeholder`.
    """
    request = await forget.add_retention(settings, request)
    async with open_transactions(settings, "forget") as transact:
        await run_steps(transact, found, request, settings.nobody_ids, CHUNK, progress)
        erasure = await forget.read_erasure(transact, found.profile)
        await forget.record_erasure(transact, actor, "placeholder removed", erasure)
    return erasure


async def run_steps(
    transact: Transact,
    found: Placeholder,
    request: Request,
    nobody_ids: Collection[str],
    at_most: int,
    progress: Callable[[int], None],
) -> None:
    """Run all steps, each in as many transactions as it needs.

    Args:
        transact: runs a transaction.
        found: as `find_placeholder` returned it.
        request: counts if the removal has not begun.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        at_most: events, anonymousIds or merges of one transaction.
        progress: called with the number of moved and erased events.
    """
    after: EventCursor | None = FIRST_EVENT
    moved = 0

    async def suppress(connection: AsyncConnection[Any]) -> None:
        try:
            await placeholder.suppress(connection, found, request)
        except identity.ProfileMerged:
            raise forget.PersonChanged from None

    async def change_owners(connection: AsyncConnection[Any]) -> bool:
        most = min(at_most, OWNER_CHUNK)
        return await placeholder.change_owners(connection, found, nobody_ids, most)

    async def move_events(connection: AsyncConnection[Any]) -> tuple[EventCursor | None, int]:
        return await placeholder.move_events(connection, found, after or FIRST_EVENT, at_most)

    async def forget_merges(connection: AsyncConnection[Any]) -> bool:
        return await placeholder.forget_merges(connection, found, nobody_ids, at_most)

    await transact(suppress)
    while await transact(change_owners):
        pass
    while after:
        after, count = await transact(move_events)
        moved += count
        progress(moved)
    while await transact(forget_merges):
        pass
    await transact(lambda connection: forget.delete_profile(connection, found.profile))
    await forget.erase_events(transact, found.profile, lambda erased: progress(moved + erased))
