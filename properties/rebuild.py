"""Rebuilds: count all events of a profile again, and backfill new rules.

A transaction counts some thousand events, so a profile with a million events takes many
transactions; the table "propertyRecounts" keeps how far each rebuild is. A rebuild runs only while
no event changes are pending: it would count their events, and the changes would count them again.
While a rebuild is running, incremental.py adds to it the new events that it has already passed.

Rebuilds take turns: one that needs more than its transaction waits behind all others, so that a
profile with many events does not delay them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from merganser.rulebook import property_store, rule_store
from merganser.rulebook.values import MAX_VALUE_BYTES, to_datetime
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Item, Kind
from properties import store
from properties.step import ProfileErrors, Step, StepCounts, describe_failure
from properties.store import EventKey, SerializedState, UnreadableState, serialize

_SQL = sql.load(__package__, "rebuild.sql")

MAX_PROFILES = 500
"""Profiles of one transaction."""
MANY_WAITING = 50
"""Waiting rebuilds that pause backfills."""
MAX_BYTES = 16 << 20
"""Approximate bytes of the events' texts, or of the states, of one transaction."""
FETCH_ROWS = 250
"""Events that are fetched at once."""


class _Rebuild(NamedTuple):
    """A profile that is being rebuilt."""

    user_id: str | None
    state: SerializedState | None
    """What was counted so far; None at the start."""
    rebuilt_to: EventKey | None
    """The last event that was counted."""


async def rebuild_profiles(step: Step) -> bool:
    """Count events of profiles that wait for a rebuild, then of the next profiles of a backfill.

    A backfill pauses while many profiles wait, as it may add to them.

    Args:
        step: a step whose snapshot has no pending event changes.

    Returns:
        Whether there is more to do at once.
    """
    cursor = await step.connection.execute(_SQL["read_waiting"], {"limit": MAX_PROFILES})
    if waiting := [guid for (guid,) in await cursor.fetchall()]:
        await _count_isolated(step, waiting)
    progress = [rule.backfilled_to for rule in step.rules if rule.backfilled_to is not None]
    if not progress or len(waiting) >= MANY_WAITING:
        return bool(waiting)
    cursor = await step.connection.execute(
        _SQL["read_next_profiles"], {"after": min(progress), "limit": MAX_PROFILES}
    )
    profiles = [guid for (guid,) in await cursor.fetchall()]
    await _count_isolated(step, profiles)
    await rule_store.write_backfill_progress(
        step.connection,
        [rule.revision for rule in step.rules],
        profiles[-1] if profiles else None,
        len(profiles),
    )
    return True


async def expire_windows(step: Step, now: datetime) -> bool:
    """Remove events that have left their windows from some profiles.

    Returns:
        Whether there were any.
    """
    cursor = await step.connection.execute(
        _SQL["read_expired"], {"now": now, "limit": MAX_PROFILES, "max_bytes": MAX_BYTES}
    )
    expired = [guid for (guid,) in await cursor.fetchall()]

    async def handle(profiles: Sequence[str]) -> StepCounts:
        return await _expire(step, profiles)

    async def on_failure(profile: str, _: Exception) -> None:
        await store.discard_states(step.connection, [profile])

    await step.for_profiles(expired, handle, on_failure)
    return bool(expired)


async def delete_removed_properties(step: Step, keys: Sequence[str]) -> bool:
    """Delete some values of rules that no longer exist.

    Args:
        step: a step; at most `max_events` values are deleted.
        keys: the keys of all rules.

    Returns:
        Whether there were any.
    """
    for key in await property_store.read_keys(step.connection) - set(keys):
        await property_store.delete_property(step.connection, key, step.max_events)
        return True
    return False


async def _expire(step: Step, guids: Sequence[str]) -> StepCounts:
    counts, errors = StepCounts(), ProfileErrors()
    states: dict[str, tuple[SerializedState, int | None]] = {}
    properties: dict[str, property_store.ProfileProperties] = {}
    known = await store.read_profiles(step.connection, guids)
    await store.delete_profiles(step.connection, set(guids) - known.keys())
    for guid, profile in known.items():
        with errors.catch(guid):
            if profile.state:
                state = profile.state.deserialize()
                expires = step.engine.expire(state, step.today)
                properties[guid] = step.engine.compute_properties(state, profile.user_id)
                states[guid] = (serialize(state), expires)
    await store.write_states(step.connection, states)
    await store.discard_states(step.connection, errors.by_profile)
    counts.written += await property_store.write_properties(
        step.connection, step.engine.keys, properties
    )
    return counts


async def _count_isolated(step: Step, guids: Sequence[str]) -> None:
    """Continue rebuilds, and set aside the profiles for which that fails."""

    async def handle(profiles: Sequence[str]) -> StepCounts:
        return await _count(step, profiles)

    async def on_failure(profile: str, error: Exception) -> None:
        step.counts.set_aside += await _give_up(step, {profile: error})

    await step.for_profiles(guids, handle, on_failure)


async def _count(step: Step, guids: Sequence[str]) -> StepCounts:
    """Continue rebuilds, and finish those of profiles without further events."""
    counts, errors = StepCounts(), ProfileErrors()
    known = await _read_rebuilds(step, guids)
    rows, may_continue = await _read_next_events(step, known)
    events = store.group_by_profile(row for row in rows if row[2] is not None)
    reached = list(dict.fromkeys(row[0] for row in rows))
    finished = frozenset(reached[:-1] if may_continue else reached)

    states: dict[str, tuple[SerializedState, int | None]] = {}
    rebuilds = {
        guid: (profile.state, profile.rebuilt_to)
        for guid, profile in known.items()
        if guid not in finished
    }
    properties: dict[str, property_store.ProfileProperties] = {}
    for guid in reached:
        profile, new = known[guid], events.get(guid, [])
        with errors.catch(guid):
            state = profile.state.deserialize() if profile.state else step.engine.empty_state()
            step.engine.count(state, new, step.today, counts.add_skip)
            if guid in finished:
                current = step.engine.without_removed_rules(state)
                expires = step.engine.expire(current, step.today)
                properties[guid] = step.engine.compute_properties(current, profile.user_id)
                states[guid] = (serialize(current), expires)
            elif new:
                rebuilds[guid] = (serialize(state), (new[-1].at, new[-1].guid))
    errors.count_worked(step, counts, events)
    errors.count_failed(counts)
    for guid in errors.by_profile:
        rebuilds.pop(guid, None)
        properties.pop(guid, None)
    await store.write_states(step.connection, states)
    await store.write_rebuilds(step.connection, rebuilds)
    if may_continue and reached:
        await step.connection.execute(_SQL["wait_again"], {"profile": reached[-1]})
    counts.written = await property_store.write_properties(
        step.connection, step.engine.keys, properties
    )
    await store.delete_rebuilds(step.connection, states)
    await set_aside.clear(step.connection, Kind.PROFILE, states)
    counts.rebuilt = len(states)
    counts.set_aside = await _give_up(step, errors.by_profile)
    return counts


async def _give_up(step: Step, failed: Mapping[str, Exception]) -> int:
    """Set aside profiles whose rebuild has failed, and return how many.

    If only the state so far cannot be read, the rebuild starts again from the first event.
    """
    unreadable = [guid for guid, error in failed.items() if isinstance(error, UnreadableState)]
    await store.discard_states(step.connection, unreadable)
    items = [
        Item(Kind.PROFILE, guid, "", describe_failure(error))
        for guid, error in failed.items()
        if guid not in unreadable
    ]
    if items:
        await set_aside.put(step.connection, items)
        profiles = [item.subject for item in items]
        await store.delete_rebuilds(step.connection, profiles)
        await store.delete_states(step.connection, profiles)
    return len(items)


async def _read_rebuilds(step: Step, guids: Sequence[str]) -> dict[str, _Rebuild]:
    """Return the rebuilds of profiles that exist and are not set aside; delete the others.

    They have the order of the guids.
    """
    cursor = await step.connection.execute(_SQL["read_rebuilds"], {"profiles": sql.texts(guids)})
    rows = await cursor.fetchall()
    await store.delete_profiles(step.connection, set(guids) - {row[0] for row in rows})
    if aside := [guid for guid, is_aside, *_ in rows if is_aside]:
        await store.delete_rebuilds(step.connection, aside)
    rebuilds = {
        guid: _Rebuild(
            user_id,
            None if checksum is None else SerializedState(text, checksum),
            None if at is None or checksum is None else (at, last),
        )
        for guid, is_aside, user_id, text, checksum, at, last in rows
        if not is_aside
    }
    return {guid: rebuilds[guid] for guid in guids if guid in rebuilds}


async def _read_next_events(
    step: Step, rebuilds: Mapping[str, _Rebuild]
) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the next events of profiles, and whether the last profile may have more."""
    reached = [rebuild.rebuilt_to for rebuild in rebuilds.values()]
    rows: list[tuple[Any, ...]] = []
    size = 0
    async with step.connection.cursor("next_events") as cursor:
        await cursor.execute(
            _SQL["read_next_events"],
            {
                "profiles": sql.texts(rebuilds),
                "reached_at": [None if key is None else to_datetime(key[0]) for key in reached],
                "reached_guid": sql.texts(None if key is None else key[1] for key in reached),
                "types": list(step.engine.types),
                "keys": list(step.engine.data_keys),
                "max_value_bytes": MAX_VALUE_BYTES,
                "limit": step.max_events,
            },
        )
        while len(rows) < step.max_events and size < MAX_BYTES:
            fetched = await cursor.fetchmany(FETCH_ROWS)
            rows += fetched
            size += sum(row[7] for row in fetched)
            if len(fetched) < FETCH_ROWS:
                return rows, len(rows) >= step.max_events
    return rows, True
