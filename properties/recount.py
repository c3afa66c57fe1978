"""Counting profiles anew: what adding cannot mend, and what a new rule has not seen yet.

A transaction counts some thousands of events, so a profile with a million of them takes many. It
must see no notes: a note that waits tells of an event which it would count, and which would be
counted again when the note is applied. While a count is under way `follow.py` counts along what
is placed before the place it has reached.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from properties import store
from properties.reckoning import ProfileState, Rulebook, Unfit
from properties.rulebook import Stored
from properties.store import SQL, Place, Remembered, Values
from properties.values import moment

PROFILES = 500
"""Profiles of one transaction at most."""


@dataclass(frozen=True, slots=True)
class Recounted:
    """What a step did."""

    finished: int
    """Profiles whose count has come to its end."""
    more: bool
    """Whether there is more to do at once."""


async def recount(
    connection: AsyncConnection[Any],
    book: Rulebook,
    rules: Sequence[Stored],
    today: int,
    at_most: int,
    unfit: Unfit,
) -> Recounted:
    """Count up to `at_most` events of profiles that wait for it, else of a rule's next profiles.

    Args:
        connection: in a transaction (REPEATABLE READ) that sees no notes.
        book: the rules, ready.
        rules: the same rules, with how far their backfills are.
        today: in days since 1970, UTC.
        at_most: events.
        unfit: told of values that do not fit.
    """
    cursor = await connection.execute(SQL["recounts"], {"at_most": PROFILES})
    if waiting := [guid for (guid,) in await cursor.fetchall()]:
        finished = await _count(connection, book, waiting, today, at_most, unfit)
        return Recounted(finished, more=True)
    places = [rule.backfilled_to for rule in rules if rule.backfilled_to is not None]
    if not places:
        return Recounted(0, more=False)
    cursor = await connection.execute(
        SQL["next_profiles"], {"after": min(places), "at_most": PROFILES}
    )
    following = [guid for (guid,) in await cursor.fetchall()]
    finished = await _count(connection, book, following, today, at_most, unfit)
    await connection.execute(
        SQL["backfilled"],
        {
            "upto": following[-1] if following else None,
            "count": len(following),
            "revisions": [rule.revision for rule in rules],
        },
    )
    return Recounted(finished, more=True)


async def expire(
    connection: AsyncConnection[Any], book: Rulebook, now: datetime, today: int
) -> bool:
    """Take the events that have left their windows out of some profiles; whether there were any."""
    cursor = await connection.execute(SQL["expired"], {"now": now, "at_most": PROFILES})
    known = await store.profiles(connection, [guid for (guid,) in await cursor.fetchall()])
    states = {
        profile.guid: (profile.state, book.expire(profile.state, today))
        for profile in known.values()
        if profile.state is not None
    }
    await store.put_states(connection, states)
    await store.put_properties(
        connection,
        book,
        {guid: book.properties(state, known[guid].user_id) for guid, (state, _) in states.items()},
    )
    return bool(states)


async def sweep(connection: AsyncConnection[Any], keys: Sequence[str], at_most: int) -> bool:
    """Drop some of the values of rules that are no more; whether there were any.

    Args:
        connection: in a transaction.
        keys: of all rules there are.
        at_most: values.
    """
    cursor = await connection.execute(SQL["stored_keys"])
    for key in {key for (key,) in await cursor.fetchall()} - set(keys):
        await connection.execute(SQL["drop_key"], {"key": key, "at_most": at_most})
        return True
    return False


async def _count(
    connection: AsyncConnection[Any],
    book: Rulebook,
    guids: Sequence[str],
    today: int,
    at_most: int,
    unfit: Unfit,
) -> int:
    """Go on with the counts of profiles, and finish those that have no events left."""
    known = await store.profiles(connection, guids)
    await store.forget(connection, set(guids) - known.keys())
    rows = await _next_events(connection, book, known.values(), at_most)
    events = store.occurrences(row for row in rows if row[2] is not None)
    reached = list(dict.fromkeys(row[0] for row in rows))
    # As many rows as allowed: there may be more of the last profile's.
    ended = reached[:-1] if len(rows) == at_most else reached

    states: dict[str, tuple[ProfileState, int | None]] = {}
    recounts: dict[str, tuple[ProfileState, Place | None]] = {}
    properties: dict[str, Values] = {}
    for guid, profile in known.items():
        new = events.get(guid, [])
        # Without a place nothing was counted, whatever rules there were when it was asked for.
        state = profile.recount if profile.recount and profile.reached else book.fresh()
        book.count(state, new, today, unfit)
        if guid in ended:
            kept = {key: one for key, one in state.items() if key in book.revisions}
            states[guid] = (kept, book.expire(kept, today))
            properties[guid] = book.properties(kept, profile.user_id)
        else:
            place = (new[-1].at, new[-1].guid) if new else profile.reached
            recounts[guid] = (state, place)
    await store.put_states(connection, states)
    await store.put_recounts(connection, recounts)
    await store.put_properties(connection, book, properties)
    await connection.execute(SQL["forget_recounts"], {"profiles": list(states)})
    return len(states)


async def _next_events(
    connection: AsyncConnection[Any], book: Rulebook, wanted: Iterable[Remembered], at_most: int
) -> list[tuple[Any, ...]]:
    profiles = list(wanted)
    cursor = await connection.execute(
        SQL["next_events"],
        {
            "profiles": [profile.guid for profile in profiles],
            "reached_at": [
                moment(profile.reached[0]) if profile.reached else None for profile in profiles
            ],
            "reached_guid": [
                profile.reached[1] if profile.reached else None for profile in profiles
            ],
            "types": list(book.types),
            "keys": list(book.data_keys),
            "at_most": at_most,
        },
    )
    return await cursor.fetchall()
