"""Recomputes every property from the events and compares it with what is stored.

Safe on a live system: it reads one snapshot and takes no lock. What is on its way in that snapshot
is counted, not compared: profiles of which notes wait, that are counted anew or whose window has
moved on, and rules whose backfill is under way. Profiles that are set aside and rules that are
broken are counted, too: nothing is computed for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from merganser.rulebook import rule_store
from merganser.rulebook.values import LONGEST_VALUE
from merganser.runtime import sql
from properties.rules.engine import ProfileState, Rulebook, day_of
from properties.rules.event_view import Occurrence

_SQL = sql.load(__package__, "audit.sql")

CHUNK = 500
"""Profiles of one step. Their events are read a few at a time."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A property that is stored otherwise than the events say."""

    profile: str
    key: str
    stored: list[str]
    expected: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found."""

    profiles: int
    """How many were compared."""
    pending: int
    """How many were not, as changes of theirs were on their way."""
    set_aside: int
    """How many were not, as they are set aside."""
    backfilling: int
    """Rules that were not compared, as their backfill was under way."""
    broken: int
    """Rules that were not compared, as they are not computed."""
    disagreements: list[Disagreement]


async def audit(
    connection: AsyncConnection[Any], now: datetime, progress: Callable[[float], None]
) -> Report:
    """Compare everything.

    Args:
        connection: in autocommit mode.
        now: decides which day it is in UTC, for rules with a window.
        progress: told about how much is done, from 0 to 1.
    """
    found: list[Disagreement] = []
    compared, after = 0, ""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        applied = await rule_store.read(connection)
        rules = applied.rules
        book = Rulebook((one.revision, one.rule) for one in rules if one.backfilled_to is None)
        await cursor.execute(_SQL["unsettled"], {"now": now})
        pending = {profile for (profile,) in await cursor.fetchall()}
        await cursor.execute(_SQL["set_aside"])
        aside = {profile for (profile,) in await cursor.fetchall()}
        unsettled = pending | aside
        await cursor.execute(_SQL["profiles"])
        (total,) = await cursor.fetchone() or (0,)
        while True:
            await cursor.execute(_SQL["next"], {"after": after, "at_most": CHUNK})
            owners = dict(await cursor.fetchall())
            if not owners:
                break
            after = max(owners)
            settled = {guid: owner for guid, owner in owners.items() if guid not in unsettled}
            found += await _compare(connection, book, settled, day_of(now))
            compared += len(settled)
            progress(compared / max(total, compared, 1))
        await cursor.execute(_SQL["strays"], {"unsettled": list(unsettled)})
        found += [Disagreement(profile, key, [], []) for profile, key in await cursor.fetchall()]
    backfilling = sum(1 for one in rules if one.backfilled_to is not None)
    return Report(
        compared, len(pending - aside), len(aside), backfilling, len(applied.broken), found
    )


async def _compare(
    connection: AsyncConnection[Any], book: Rulebook, owners: dict[str, str | None], today: int
) -> list[Disagreement]:
    states: dict[str, ProfileState] = {guid: book.fresh() for guid in owners}
    await _count(connection, book, states, today)
    cursor = await connection.execute(
        _SQL["stored"],
        {"profiles": list(owners), "keys": list(book.keys), "longest": LONGEST_VALUE},
    )
    stored: dict[tuple[str, str], list[str]] = {
        (profile, key): values for profile, key, values in await cursor.fetchall()
    }
    return [
        Disagreement(guid, key, kept, values)
        for guid, owner in owners.items()
        for key, values in book.properties(states[guid], owner).items()
        if (kept := stored.get((guid, key), [])) != values
    ]


async def _count(
    connection: AsyncConnection[Any],
    book: Rulebook,
    states: dict[str, ProfileState],
    today: int,
) -> None:
    async with connection.cursor("audited_events") as cursor:
        await cursor.execute(
            _SQL["events"],
            {
                "profiles": list(states),
                "types": list(book.types),
                "keys": list(book.data_keys),
                "longest": LONGEST_VALUE,
            },
        )
        async for profile, at, guid, kind, user_id, ip_address, data in cursor:
            event = Occurrence(at, guid, kind, user_id, ip_address, data or {})
            book.count(states[profile], [event], today, lambda _key, _skip: None)
