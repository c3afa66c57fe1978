"""One step of keeping properties up to date: the notes of what happened to events, applied.

Why it is exact
    A note and what it tells of are committed together, and a step sees one snapshot of both. So in
    any snapshot: what a profile's state has counted, and what the notes still tell of, are the
    events that lie on the profile. A step takes notes and counts their events in one transaction,
    which keeps that so. An event that has moved on since it was placed is left to the note of its
    move. What cannot be counted by adding (an event that left, or changed) is counted anew, see
    `recount.py`.

    A profile without a state has no event that was counted. If it is younger than a rule, all its
    events were noted for that rule, so it starts from nothing; else the rule's backfill counts it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from properties import store
from properties.occurrence import Occurrence
from properties.reckoning import ProfileState, Rulebook, Unfit
from properties.rulebook import Stored
from properties.store import Place, Remembered, Values
from runtime import sql

_NOTES = sql.load(__package__, "notes.sql")


class Notes(NamedTuple):
    """What a transaction took."""

    placed: list[tuple[str, str]]
    """(event, profile)."""
    left: set[str]
    """Profiles of which events went or changed, or that went."""
    data: set[str]
    """Events whose data came later, went or changed."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a step did."""

    events: int
    """Events that notes told of."""
    written: int
    """Values of properties that changed."""
    exhausted: bool
    """Whether no note is left in this transaction's view."""


async def follow(
    connection: AsyncConnection[Any],
    book: Rulebook,
    rules: Sequence[Stored],
    today: int,
    at_most: int,
    unfit: Unfit,
) -> Followed:
    """Apply about `at_most` of the oldest notes, in the caller's transaction (REPEATABLE READ)."""
    notes = await _take(connection, at_most)
    profiles = {profile for _, profile in notes.placed}
    placed = {event for event, _ in notes.placed}
    touched = await _profiles_of(connection, notes.data - placed)
    known = await store.profiles(connection, profiles | notes.left | touched)
    await store.forget(connection, (profiles | notes.left | touched) - known.keys())
    anew = (notes.left | touched) & known.keys()

    events = await _events(connection, book, notes.placed)
    states: dict[str, tuple[ProfileState, int | None]] = {}
    recounts: dict[str, tuple[ProfileState, Place | None]] = {}
    properties: dict[str, Values] = {}
    for guid in profiles & known.keys():
        profile, new = known[guid], events.get(guid, [])
        state = profile.state if profile.state is not None else {}
        missing = book.revisions - state.keys()
        for rule in rules:
            if str(rule.revision) in missing and profile.created_at > rule.applied_at:
                state[str(rule.revision)] = None
                missing -= {str(rule.revision)}
        if missing and profile.recount is None:
            anew.add(guid)
        book.count(state, new, today, unfit)
        leaves = book.expire(state, today)
        properties[guid] = book.properties(state, profile.user_id)
        if new:
            states[guid] = ({key: state[key] for key in state if key in book.revisions}, leaves)
        if profile.recount is not None and guid not in anew:
            _count_along(book, profile, new, today, recounts)

    await store.put_states(connection, states)
    await store.put_recounts(connection, recounts)
    await connection.execute(store.SQL["begin_recounts"], {"profiles": list(anew)})
    written = await store.put_properties(connection, book, properties)
    return Followed(len(notes.placed), written, await _exhausted(connection))


def _count_along(
    book: Rulebook,
    profile: Remembered,
    new: Iterable[Occurrence],
    today: int,
    recounts: dict[str, tuple[ProfileState, Place | None]],
) -> None:
    """Events before the place that a new count has reached; it will come to the others itself."""
    reached = profile.reached
    passed = [event for event in new if reached and (event.at, event.guid) <= reached]
    if passed and profile.recount is not None:
        book.count(profile.recount, passed, today, lambda _: None)
        recounts[profile.guid] = (profile.recount, reached)


async def _take(connection: AsyncConnection[Any], at_most: int) -> Notes:
    notes = Notes([], set(), set())
    cursor = await connection.execute(_NOTES["take"], {"at_most": at_most})
    for kind, events, profiles in await cursor.fetchall():
        match kind:
            case "placed":
                notes.placed.extend(zip(events, profiles, strict=True))
            case "left":
                notes.left.update(profiles)
            case _:
                notes.data.update(events)
    return notes


async def _profiles_of(connection: AsyncConnection[Any], events: set[str]) -> set[str]:
    if not events:
        return set()
    cursor = await connection.execute(_NOTES["touched"], {"events": list(events)})
    return {profile for (profile,) in await cursor.fetchall()}


async def _events(
    connection: AsyncConnection[Any], book: Rulebook, placed: Sequence[tuple[str, str]]
) -> Mapping[str, list[Occurrence]]:
    cursor = await connection.execute(
        store.SQL["placed_events"],
        {
            "events": [event for event, _ in placed],
            "profiles": [profile for _, profile in placed],
            "types": list(book.types),
            "keys": list(book.data_keys),
        },
    )
    return store.occurrences(await cursor.fetchall())


async def _exhausted(connection: AsyncConnection[Any]) -> bool:
    cursor = await connection.execute(_NOTES["any"])
    (left,) = await cursor.fetchone() or (False,)
    return not left
