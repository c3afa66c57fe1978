"""Forget a person: run the steps of `merganser/identity/forget.py` in short transactions."""

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.database import Transact, open_connection, open_transactions
from merganser.admin.errors import AdminError
from merganser.identity import forget as identity
from merganser.identity.forget import Person, Suppression
from merganser.runtime.settings import Settings
from properties import store as properties

CHUNK = 2000
"""Events, or anonymousIds, of one transaction, which takes some tens of milliseconds."""


class PersonNotFound(AdminError):
    """No profile has this userId or guid."""

    def __init__(self) -> None:
        # The message goes to logs, so it does not repeat the id.
        super().__init__(
            "no profile has this userId or guid: `merganser explain` finds a profile by any id"
        )


class IdNotSuppressed(AdminError):
    """`readmit_id` has nothing to do."""


async def find_person(settings: Settings, name: str) -> Person | None:
    """Return the person with this userId or profile guid, or None if there is none."""
    async with open_connection(settings, "find") as connection:
        return await identity.find_person(connection, name)


async def forget_person(
    settings: Settings, person: Person, progress: Callable[[int], None], *, suppress: bool
) -> int:
    """Erase a person's events, ids, profile and properties, in many short transactions.

    If it is interrupted, run it again: it continues. The scanner erases events that are left.

    Args:
        settings: the database's URL.
        person: as `find_person` returned it.
        progress: called with the number of erased events.
        suppress: whether later events with these ids are discarded.

    Returns:
        The number of erased events.
    """

    async def suppress_ids(connection: AsyncConnection[Any]) -> list[str]:
        return await identity.suppress_ids(connection, person.profile, CHUNK)

    async def detach_anonymous_ids(connection: AsyncConnection[Any]) -> bool:
        return await identity.detach_anonymous_ids(connection, person.profile, anonymous_ids, CHUNK)

    async def forget_anonymous_ids(connection: AsyncConnection[Any]) -> None:
        await identity.forget_anonymous_ids(
            connection, person.profile, anonymous_ids, suppressed=suppress
        )

    async def forget_merges(connection: AsyncConnection[Any]) -> bool:
        return await identity.forget_merges(connection, person.profile, CHUNK)

    async def forget_profile(connection: AsyncConnection[Any]) -> None:
        await identity.forget_profile(connection, person.profile, suppressed=suppress)
        await properties.delete_profiles(connection, [person.profile])

    async with open_transactions(settings, "forget") as transact:
        while anonymous_ids := await transact(suppress_ids):
            while await transact(detach_anonymous_ids):
                pass
            await transact(forget_anonymous_ids)
        while await transact(forget_merges):
            pass
        await transact(forget_profile)
        return await erase_events(transact, progress) or 0


async def finish_erasures(settings: Settings) -> int:
    """Erase the events that interrupted calls of `forget_person` left.

    Returns:
        The number of erased events.

    Raises:
        PersonNotFound: no erasure is unfinished, so the name that `find_person` did not find
            belongs to no one.
    """
    async with open_transactions(settings, "forget") as transact:
        erased = await erase_events(transact, lambda _: None)
    if erased is None:
        raise PersonNotFound
    return erased


async def readmit_id(settings: Settings, name: str) -> None:
    """Store events with a suppressed userId or anonymousId again.

    Raises:
        IdNotSuppressed: events with this id are stored already.
    """
    async with open_connection(settings, "readmit") as connection:
        readmitted = await identity.readmit(connection, name)
    if not readmitted:
        raise IdNotSuppressed("this id is not suppressed: events with it are stored")


async def find_suppressions(settings: Settings, name: str) -> list[Suppression]:
    """Return how a userId or anonymousId is suppressed; empty if it is not. Changes nothing."""
    async with open_connection(settings, "suppressed") as connection:
        return await identity.find_suppressions(connection, name)


async def erase_events(transact: Transact, progress: Callable[[int], None]) -> int | None:
    """Erase the events of all forgotten profiles; return None if no erasure was unfinished."""

    async def erase_chunk(connection: AsyncConnection[Any]) -> int | None:
        profile = await identity.lock_next_erasure(connection)
        if profile is None:
            return None
        return await identity.erase_chunk(connection, profile, CHUNK)

    total: int | None = None
    while (erased := await transact(erase_chunk)) is not None:
        total = (total or 0) + erased
        progress(total)
    return total
