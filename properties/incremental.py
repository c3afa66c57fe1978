"""One step of keeping properties up to date: the notes of what happened to events, applied.

Why it is exact
    A note and what it tells of are committed together, and a step sees one snapshot of both. So in
    any snapshot: what a profile's state has counted, and what the notes still tell of, are the
    events that lie on the profile. A step takes notes and counts their events in one transaction,
    which keeps that so. An event that has moved on since it was placed is left to the note of its
    move. What cannot be counted by adding (an event that left, or changed) is counted again, see
    `recount.py`; so is a profile for which this fails.

    A profile without a state has no event that was counted. If it is younger than a rule, all its
    events were noted for that rule, so it starts from nothing; else the rule's backfill counts it.
    If a new count is under way it is left to that.

How much is in memory
    What is long is not read with the rest, but afterwards: profiles with long states or events in
    groups, and the events of a group in parts, each of `GROUP_BYTES` or of one profile or event.
    What is longest comes last, and what is beyond `LONG_BYTES` is left to a later transaction, by
    notes like those that were taken. So nobody waits long for somebody else who sends much.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.rulebook import property_store
from merganser.rulebook.values import LONGEST_VALUE
from merganser.runtime import sql
from properties import store
from properties.rules.engine import ProfileState
from properties.rules.event_view import Occurrence
from properties.store import UNLIMITED, Place, Remembered, Written, written
from properties.task import Attempts, Tally, Task, packed

_NOTES = sql.load(__package__, "notes.sql")

SHORT_STATE = 4_096
"""Bytes of a profile's states that are read with those of any number of others."""
SHORT_EVENT = 1_024
"""Bytes of an event's texts that are read with those of any number of others."""
GROUP_BYTES = 16 << 20
LONG_BYTES = 32 << 20
"""Of the long states and events of one transaction, and of the group that exceeds them."""


class Notes(NamedTuple):
    """What a transaction took."""

    placed: list[tuple[str, str]]
    """(event, profile)."""
    left: set[str]
    """Profiles of which events went or changed, or that went."""
    data: set[str]
    """Events whose data came later, went or changed."""
    since: datetime
    """When the oldest was written."""


class Followed(NamedTuple):
    """What a step did."""

    events: int
    """Events that notes told of."""
    exhausted: bool
    """Whether no note is left in this transaction's view."""


@dataclass(slots=True)
class Work:
    """What there is to do for a profile."""

    placed: list[str] = field(default_factory=list)
    """Events that came to it."""
    again: bool = False
    """Whether its events must be counted again, from the first one on."""


async def follow(task: Task) -> Followed:
    """Apply about as many of the oldest notes as the task allows."""
    notes = await _take(task.connection, task.at_most)
    work = await _work(task.connection, notes)

    async def handle(some: Sequence[str]) -> Tally:
        return await _handle(task, {profile: work[profile] for profile in some}, notes.since)

    async def fault(profile: str, _: Exception) -> None:
        await store.start_over(task.connection, [profile])

    await task.handle(list(work), handle, fault)
    return Followed(len(notes.placed), await _exhausted(task.connection))


async def _handle(task: Task, work: Mapping[str, Work], since: datetime) -> Tally:
    """Count the new events of some profiles, and write what follows.

    Args:
        task: whose transaction it is.
        work: what there is to do, by profile.
        since: when the oldest note of it was written.
    """
    known = await store.profiles(task.connection, work, SHORT_STATE)
    await store.forget(task.connection, work.keys() - known.keys())
    known = {guid: profile for guid, profile in known.items() if not profile.set_aside}
    placed = [(event, guid) for guid in known for event in work[guid].placed]
    rows = await _events(task, placed, SHORT_EVENT)
    long = {guid for guid, profile in known.items() if profile.bytes > SHORT_STATE}
    long.update(row[0] for row in rows if row[7] > SHORT_EVENT)
    counting = _Counting(task, work, (known[guid] for guid in known.keys() - long))
    counting.count(store.occurrences(row for row in rows if row[0] not in long))
    tally = await counting.write()

    sizes: dict[tuple[str, str], int] = {(row[2], row[0]): row[7] for row in rows if row[0] in long}
    weights = {guid: known[guid].bytes for guid in long}
    for (_, guid), size in sizes.items():
        weights[guid] += size
    weights = dict(sorted(weights.items(), key=lambda item: item[1]))
    handled = 0
    for group in packed(weights, GROUP_BYTES):
        if handled > LONG_BYTES:
            await _put_off(task.connection, {guid: work[guid] for guid in group}, since)
            continue
        handled += sum(weights[guid] for guid in group)
        known = await store.profiles(task.connection, group)
        counting = _Counting(task, work, known.values())
        own = {pair: size for pair, size in sizes.items() if pair[1] in known}
        for part in packed(own, GROUP_BYTES):
            counting.count(store.occurrences(await _events(task, part)))
        tally.add(await counting.write())
    return tally


class _Counting:
    """Counts new events of profiles, and writes what follows.

    Args:
        task: whose transaction it is.
        work: what there is to do, by profile.
        known: the profiles.
    """

    def __init__(self, task: Task, work: Mapping[str, Work], known: Iterable[Remembered]) -> None:
        self._task = task
        self._tally = Tally()
        self._attempts = Attempts()
        self._known = {profile.guid: profile for profile in known}
        self._again = {guid for guid in self._known if work[guid].again}
        self._states: dict[str, ProfileState] = {}
        self._recounts: dict[str, ProfileState] = {}
        self._counted: set[str] = set()
        self._last: Mapping[str, Sequence[Occurrence]] = {}
        for guid, profile in self._known.items():
            with self._attempts.of(guid):
                self._states[guid] = self._begin(profile)

    def count(self, events: Mapping[str, Sequence[Occurrence]]) -> None:
        """Count events, by profile; can be called several times."""
        book, today = self._task.book, self._task.today
        for guid, new in events.items():
            if guid not in self._attempts.failed:
                self._counted.add(guid)
                with self._attempts.of(guid):
                    book.count(self._states[guid], new, today, self._tally.skip)
                    self._count_along(self._known[guid], new)
        self._last = events

    async def write(self) -> Tally:
        """Write what has changed."""
        states: dict[str, tuple[Written, int | None]] = {}
        recounts: dict[str, tuple[Written | None, Place | None]] = {}
        properties: dict[str, property_store.Values] = {}
        for guid, state in self._states.items():
            if guid in self._attempts.failed:
                continue
            with self._attempts.of(guid):
                leaves = self._task.book.expire(state, self._task.today)
                values = self._task.book.properties(state, self._known[guid].user_id)
                new = written(self._task.book.known(state)) if guid in self._counted else None
                recount = written(self._recounts[guid]) if guid in self._recounts else None
                properties[guid] = values
                if new:
                    states[guid] = (new, leaves)
                if recount:
                    recounts[guid] = (recount, self._known[guid].reached)
        self._attempts.worked(self._task, self._tally, self._last)
        failed = self._attempts.failed.keys()
        connection = self._task.connection
        await store.put_states(connection, states)
        await store.put_recounts(connection, recounts)
        await store.begin_recounts(connection, self._again - failed)
        await store.start_over(connection, failed)
        self._tally.written += await property_store.put(
            connection, self._task.book.keys, properties
        )
        return self._tally

    def _begin(self, profile: Remembered) -> ProfileState:
        state = profile.state.read() if profile.state else {}
        missing = self._task.book.revisions - state.keys()
        if not profile.recounting:
            for rule in self._task.rules:
                if str(rule.revision) in missing and profile.created_at > rule.applied_at:
                    state[str(rule.revision)] = None
                    missing -= {str(rule.revision)}
            if missing:
                self._again.add(profile.guid)
        return state

    def _count_along(self, profile: Remembered, new: Sequence[Occurrence]) -> None:
        """Count for a new count, too, what is before its place; it comes to the rest itself."""
        reached, recount = profile.reached, profile.recount
        if reached is None or recount is None or profile.guid in self._again:
            return
        if passed := [event for event in new if (event.at, event.guid) <= reached]:
            state = self._recounts.get(profile.guid) or recount.read()
            self._task.book.count(state, passed, self._task.today, lambda _key, _skip: None)
            self._recounts[profile.guid] = state


async def _take(connection: AsyncConnection[Any], at_most: int) -> Notes:
    notes = Notes([], set(), set(), datetime.now(UTC))
    cursor = await connection.execute(_NOTES["take"], {"at_most": at_most})
    for kind, events, profiles, created_at in await cursor.fetchall():
        notes = notes._replace(since=min(notes.since, created_at))
        match kind:
            case "placed":
                notes.placed.extend(zip(events, profiles, strict=True))
            case "left":
                notes.left.update(profiles)
            case _:
                notes.data.update(events)
    return notes


async def _put_off(
    connection: AsyncConnection[Any], work: Mapping[str, Work], since: datetime
) -> None:
    """Leave work to a later transaction."""
    placed = [(event, guid) for guid, one in work.items() for event in one.placed]
    await connection.execute(
        _NOTES["put_off"],
        {
            "events": sql.texts(event for event, _ in placed),
            "profiles": sql.texts(guid for _, guid in placed),
            "again": sql.texts(guid for guid, one in work.items() if one.again),
            "created_at": since,
        },
    )


async def _work(connection: AsyncConnection[Any], notes: Notes) -> dict[str, Work]:
    """What there is to do, by profile."""
    work: dict[str, Work] = {}
    for event, profile in notes.placed:
        work.setdefault(profile, Work()).placed.append(event)
    touched = notes.data - {event for event, _ in notes.placed}
    for profile in notes.left | await _profiles_of(connection, touched):
        work.setdefault(profile, Work()).again = True
    return work


async def _profiles_of(connection: AsyncConnection[Any], events: set[str]) -> set[str]:
    if not events:
        return set()
    cursor = await connection.execute(_NOTES["touched"], {"events": sql.texts(events)})
    return {profile for (profile,) in await cursor.fetchall()}


async def _events(
    task: Task, placed: Sequence[tuple[str, str]], most: int = UNLIMITED
) -> list[tuple[Any, ...]]:
    """Events of types that rules are about, without the texts of those with more bytes."""
    if not placed:
        return []
    cursor = await task.connection.execute(
        store.SQL["placed_events"],
        {
            "events": sql.texts(event for event, _ in placed),
            "profiles": sql.texts(profile for _, profile in placed),
            "types": list(task.book.types),
            "keys": list(task.book.data_keys),
            "longest": LONGEST_VALUE,
            "most": most,
        },
    )
    return await cursor.fetchall()


async def _exhausted(connection: AsyncConnection[Any]) -> bool:
    cursor = await connection.execute(_NOTES["any"])
    (left,) = await cursor.fetchone() or (False,)
    return not left
