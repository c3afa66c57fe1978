"""Counting profiles again: what adding cannot mend, and what a new rule has not seen yet.

A transaction counts some thousands of events, so a profile with a million of them takes many. It
must see no notes: a note that waits tells of an event which it would count, and which would be
counted again when the note is applied. While a count is under way `follow.py` counts along what
is placed before the place it has reached.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from merganser.rulebook import property_store
from merganser.rulebook.values import LONGEST_VALUE, moment
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Item, Kind
from properties import store
from properties.store import SQL, Place, UnreadableState, Written, written
from properties.task import Attempts, Tally, Task, reason

PROFILES = 500
"""Profiles of one transaction at most."""
MOST_BYTES = 16 << 20
"""Of the texts of events, or of the states, of one transaction, about."""
ROWS = 250
"""Events that are read at once."""


class _Recounting(NamedTuple):
    """A profile that is counted again."""

    user_id: str | None
    recount: Written | None
    """What was counted so far; None where it begins."""
    reached: Place | None
    """The last event that was counted."""


async def recount(task: Task) -> bool:
    """Count some events of profiles that wait for it, else of a rule's next profiles.

    Args:
        task: whose transaction sees no notes.

    Returns:
        Whether there is more to do at once.
    """
    cursor = await task.connection.execute(SQL["recounts"], {"at_most": PROFILES})
    if waiting := [guid for (guid,) in await cursor.fetchall()]:
        await _count(task, waiting)
        return True
    places = [rule.backfilled_to for rule in task.rules if rule.backfilled_to is not None]
    if not places:
        return False
    cursor = await task.connection.execute(
        SQL["next_profiles"], {"after": min(places), "at_most": PROFILES}
    )
    following = [guid for (guid,) in await cursor.fetchall()]
    await _count(task, following)
    await task.connection.execute(
        SQL["backfilled"],
        {
            "upto": following[-1] if following else None,
            "count": len(following),
            "revisions": [rule.revision for rule in task.rules],
        },
    )
    return True


async def expire(task: Task, now: datetime) -> bool:
    """Take the events that have left their windows out of some profiles; whether there were any."""
    cursor = await task.connection.execute(
        SQL["expired"], {"now": now, "at_most": PROFILES, "bytes": MOST_BYTES}
    )
    expired = [guid for (guid,) in await cursor.fetchall()]

    async def handle(some: Sequence[str]) -> Tally:
        return await _expire(task, some)

    async def fault(profile: str, _: Exception) -> None:
        await store.start_over(task.connection, [profile])

    await task.handle(expired, handle, fault)
    return bool(expired)


async def sweep(task: Task, keys: Sequence[str]) -> bool:
    """Drop some of the values of rules that are no more; whether there were any.

    Args:
        task: which allows so many values.
        keys: of all rules there are.
    """
    cursor = await task.connection.execute(SQL["stored_keys"])
    for key in {key for (key,) in await cursor.fetchall()} - set(keys):
        await task.connection.execute(SQL["drop_key"], {"key": key, "at_most": task.at_most})
        return True
    return False


async def _expire(task: Task, guids: Sequence[str]) -> Tally:
    tally, attempts = Tally(), Attempts()
    states: dict[str, tuple[Written, int | None]] = {}
    properties: dict[str, property_store.Values] = {}
    known = await store.profiles(task.connection, guids)
    await store.forget(task.connection, set(guids) - known.keys())
    for guid, profile in known.items():
        with attempts.of(guid):
            if profile.state:
                state = profile.state.read()
                leaves = task.book.expire(state, task.today)
                properties[guid] = task.book.properties(state, profile.user_id)
                states[guid] = (written(state), leaves)
    await store.put_states(task.connection, states)
    await store.start_over(task.connection, attempts.failed)
    tally.written += await property_store.put(task.connection, task.book.keys, properties)
    return tally


async def _count(task: Task, guids: Sequence[str]) -> None:
    """Go on with the counts of profiles."""

    async def handle(some: Sequence[str]) -> Tally:
        return await _count_some(task, some)

    async def fault(profile: str, error: Exception) -> None:
        task.tally.set_aside += await _give_up(task, {profile: error})

    await task.handle(guids, handle, fault)


async def _count_some(task: Task, guids: Sequence[str]) -> Tally:
    """Go on with the counts of profiles, and finish those that have no events left."""
    tally, attempts = Tally(), Attempts()
    known = await _profiles(task, guids)
    rows, full = await _next_events(task, known)
    events = store.occurrences(row for row in rows if row[2] is not None)
    reached = list(dict.fromkeys(row[0] for row in rows))
    # There may be more of the last profile's.
    ended = frozenset(reached[:-1] if full else reached)

    states: dict[str, tuple[Written, int | None]] = {}
    recounts = {
        guid: (profile.recount, profile.reached)
        for guid, profile in known.items()
        if guid not in ended
    }
    properties: dict[str, property_store.Values] = {}
    for guid in reached:
        profile, new = known[guid], events.get(guid, [])
        with attempts.of(guid):
            state = profile.recount.read() if profile.recount else task.book.fresh()
            task.book.count(state, new, task.today, tally.skip)
            if guid in ended:
                kept = task.book.known(state)
                leaves = task.book.expire(kept, task.today)
                properties[guid] = task.book.properties(kept, profile.user_id)
                states[guid] = (written(kept), leaves)
            elif new:
                recounts[guid] = (written(state), (new[-1].at, new[-1].guid))
    attempts.worked(task, tally, events)
    attempts.tell(tally)
    for guid in attempts.failed:
        recounts.pop(guid, None)
        properties.pop(guid, None)
    await store.put_states(task.connection, states)
    await store.put_recounts(task.connection, recounts)
    tally.written = await property_store.put(task.connection, task.book.keys, properties)
    await task.connection.execute(SQL["forget_recounts"], {"profiles": sql.texts(states)})
    await set_aside.clear(task.connection, Kind.PROFILE, states)
    tally.recounted = len(states)
    tally.set_aside = await _give_up(task, attempts.failed)
    return tally


async def _give_up(task: Task, failed: Mapping[str, Exception]) -> int:
    """Set profiles aside whose count has failed; how many.

    One of which only what was counted so far cannot be read is counted from its first event on.
    """
    unreadable = [guid for guid, error in failed.items() if isinstance(error, UnreadableState)]
    await store.start_over(task.connection, unreadable)
    items = [
        Item(Kind.PROFILE, guid, "", reason(error))
        for guid, error in failed.items()
        if guid not in unreadable
    ]
    if items:
        await set_aside.put(task.connection, items)
        profiles = {"profiles": sql.texts(item.subject for item in items)}
        await task.connection.execute(SQL["forget_recounts"], profiles)
        await task.connection.execute(SQL["forget_states"], profiles)
    return len(items)


async def _profiles(task: Task, guids: Sequence[str]) -> dict[str, _Recounting]:
    """Profiles that are there and not set aside; what else waits for a count waits no more."""
    cursor = await task.connection.execute(SQL["recounting"], {"profiles": sql.texts(guids)})
    rows = await cursor.fetchall()
    await store.forget(task.connection, set(guids) - {row[0] for row in rows})
    if aside := [guid for guid, is_aside, *_ in rows if is_aside]:
        await task.connection.execute(SQL["forget_recounts"], {"profiles": sql.texts(aside)})
    return {
        guid: _Recounting(
            user_id,
            None if checksum is None else Written(text, checksum),
            None if at is None or checksum is None else (at, last),
        )
        for guid, is_aside, user_id, text, checksum, at, last in rows
        if not is_aside
    }


async def _next_events(
    task: Task, wanted: Mapping[str, _Recounting]
) -> tuple[list[tuple[Any, ...]], bool]:
    """The next events of profiles, and whether there may be more of the last of them."""
    places = [profile.reached for profile in wanted.values()]
    rows: list[tuple[Any, ...]] = []
    read = 0
    async with task.connection.cursor("next_events") as cursor:
        await cursor.execute(
            SQL["next_events"],
            {
                "profiles": sql.texts(wanted),
                "reached_at": [None if place is None else moment(place[0]) for place in places],
                "reached_guid": sql.texts(None if place is None else place[1] for place in places),
                "types": list(task.book.types),
                "keys": list(task.book.data_keys),
                "longest": LONGEST_VALUE,
                "at_most": task.at_most,
            },
        )
        while len(rows) < task.at_most and read < MOST_BYTES:
            some = await cursor.fetchmany(ROWS)
            rows += some
            read += sum(row[7] for row in some)
            if len(some) < ROWS:
                return rows, len(rows) >= task.at_most
    return rows, True
