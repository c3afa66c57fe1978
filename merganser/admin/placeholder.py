"""Remove a placeholder userId: run the steps of `merganser/identity/placeholder.py`."""

from collections.abc import Callable, Collection
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.database import Transact, open_connection, open_transactions
from merganser.admin.errors import AdminError
from merganser.admin.forget import CHUNK, erase_events
from merganser.identity import forget, placeholder
from merganser.identity.placeholder import FIRST_EVENT, EventCursor, Placeholder
from merganser.runtime.settings import Settings
from properties import store as properties


class UserNotFound(AdminError):
    """No profile has this userId."""

    def __init__(self) -> None:
        # The message goes to logs, so it does not repeat the id.
        super().__init__(
            "no profile has this userId: `merganser explain` finds the userId of a profile, and "
            "`merganser suppressed` says whether the id is a placeholder already"
        )


async def find_placeholder(settings: Settings, user_id: str) -> Placeholder:
    """Return a userId with its profile, and what `remove_placeholder` would keep and erase.

    Raises:
        UserNotFound: no profile has it.
    """
    async with open_connection(settings, "forget") as connection:
        found = await placeholder.find_placeholder(connection, user_id)
    if found is None:
        raise UserNotFound
    return found


async def remove_placeholder(
    settings: Settings, found: Placeholder, progress: Callable[[int], None]
) -> None:
    """Remove a userId from all events, and ignore it from now on; keep its devices.

    If it is interrupted, run it again: it continues.

    Args:
        settings: the database's URL, and the ids that mean nobody.
        found: as `find_placeholder` returned it.
        progress: called with the number of moved and erased events.
    """
    async with open_transactions(settings, "forget") as transact:
        await run_steps(transact, found, settings.nobody_ids, CHUNK, progress)


async def run_steps(
    transact: Transact,
    found: Placeholder,
    nobody_ids: Collection[str],
    at_most: int,
    progress: Callable[[int], None],
) -> None:
    """Run all steps, each in as many transactions as it needs.

    Args:
        transact: runs a transaction.
        found: as `find_placeholder` returned it.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
        at_most: events, anonymousIds or merges of one transaction.
        progress: called with the number of moved and erased events.
    """
    after: EventCursor | None = FIRST_EVENT
    moved = 0

    async def suppress(connection: AsyncConnection[Any]) -> None:
        await placeholder.suppress(connection, found)

    async def change_owners(connection: AsyncConnection[Any]) -> bool:
        return await placeholder.change_owners(connection, found, nobody_ids, at_most)

    async def move_events(connection: AsyncConnection[Any]) -> tuple[EventCursor | None, int]:
        return await placeholder.move_events(connection, found, after or FIRST_EVENT, at_most)

    async def forget_merges(connection: AsyncConnection[Any]) -> bool:
        return await placeholder.forget_merges(connection, found, at_most)

    async def forget_profile(connection: AsyncConnection[Any]) -> None:
        await forget.forget_profile(connection, found.profile, suppressed=True)
        await properties.delete_profiles(connection, [found.profile])

    await transact(suppress)
    while await transact(change_owners):
        pass
    while after:
        after, count = await transact(move_events)
        moved += count
        progress(moved)
    while await transact(forget_merges):
        pass
    await transact(forget_profile)
    await erase_events(transact, lambda erased: progress(moved + erased))
