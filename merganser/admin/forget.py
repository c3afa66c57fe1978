"""Forget a person: the steps of `merganser/identity/forget.py`, each in short transactions."""

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.database import Transact, connected, transactions
from merganser.identity import forget as steps
from merganser.identity.forget import Person
from merganser.runtime.settings import Settings
from properties import store as properties

CHUNK = 2000
"""Events, or anonymousIds, of one transaction: it takes some tens of milliseconds."""


async def find(settings: Settings, name: str) -> Person | None:
    """The person with this userId, or with this guid of a profile; None if there is none."""
    async with await connected(settings, "find") as connection:
        return await steps.find_person(connection, name)


async def forget(
    settings: Settings, person: Person, progress: Callable[[int], None], *, suppress: bool
) -> int:
    """Forget a person in short transactions; how many events went."""

    async def suppressing(connection: AsyncConnection[Any]) -> list[str]:
        return await steps.suppress_ids(connection, person.profile, CHUNK)

    async def clearing(connection: AsyncConnection[Any]) -> bool:
        return await steps.detach_anonymous_ids(connection, person.profile, visitors, CHUNK)

    async def forgetting_visitors(connection: AsyncConnection[Any]) -> None:
        await steps.forget_anonymous_ids(connection, person.profile, visitors, suppressed=suppress)

    async def clearing_trail(connection: AsyncConnection[Any]) -> bool:
        return await steps.forget_merges(connection, person.profile, CHUNK)

    async def forgetting(connection: AsyncConnection[Any]) -> None:
        await steps.forget_profile(connection, person.profile, suppressed=suppress)
        await properties.forget(connection, [person.profile])

    async with transactions(settings, "forget") as transact:
        while visitors := await transact(suppressing):
            while await transact(clearing):
                pass
            await transact(forgetting_visitors)
        while await transact(clearing_trail):
            pass
        await transact(forgetting)
        return await _erase(transact, progress) or 0


async def _erase(transact: Transact, progress: Callable[[int], None]) -> int | None:
    """Erase what is left of all who are forgotten; None when nothing was."""

    async def erasing(connection: AsyncConnection[Any]) -> int | None:
        profile = await steps.lock_next_erasure(connection)
        if profile is None:
            return None
        return await steps.erase_chunk(connection, profile, CHUNK)

    total: int | None = None
    while (erased := await transact(erasing)) is not None:
        total = (total or 0) + erased
        progress(total)
    return total


async def finish(settings: Settings) -> int | None:
    """Erase the events that earlier erasures left; how many. None if no erasure was pending."""
    async with transactions(settings, "forget") as transact:
        return await _erase(transact, lambda _: None)


async def readmit(settings: Settings, name: str) -> bool:
    """Store an id again that `forget` has suppressed; False if it is not suppressed."""
    async with await connected(settings, "readmit") as connection:
        return await steps.readmit(connection, name)
