"""Incremental updates: apply event changes to the states and properties of profiles.

Database triggers record in the table "eventChanges" which events were placed on a profile, left it
or changed. A change here is one row of that table.

Why this is exact
    A change is committed together with the event, and a step sees one snapshot of both. So in any
    snapshot, the events of a profile are those that its state has counted plus those of its pending
    changes. A step deletes changes and counts their events in one transaction, which preserves
    this. If an event has moved on since it was placed, the step skips it, as a later change records
    the move. What cannot be counted by adding (an event that left or changed) starts a rebuild of
    the profile (rebuild.py), and so does a profile for which counting fails.

    A profile without a state has no counted events. If it was created after a rule was applied, all
    its events were recorded for that rule, so it starts with an empty state. Otherwise the rule's
    backfill counts it. If a rebuild is running, the rebuild counts it.

How memory is bounded
    Long states and events are not read with the others but after them: profiles in groups, and the
    events of a group in parts, each of `GROUP_BYTES` or of one profile or event. The longest come
    last. What exceeds `MAX_LONG_BYTES` is deferred to a later transaction: the step writes new
    changes for it. So a profile with huge events does not delay the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.rulebook import property_store
from merganser.rulebook.values import MAX_VALUE_BYTES
from merganser.runtime import sql
from properties import store
from properties.rules.engine import ProfileState, ignore_skip
from properties.rules.event_view import EventView
from properties.step import ProfileErrors, Step, StepCounts, pack
from properties.store import UNLIMITED, EventKey, ProfileRecord, SerializedState, serialize

_SQL = sql.load(__package__, "incremental.sql")

SHORT_STATE_BYTES = 4_096
"""States of a profile up to this size are read together with any number of others."""
SHORT_EVENT_BYTES = 1_024
"""Texts of an event up to this size are read together with those of any number of others."""
GROUP_BYTES = 16 << 20
MAX_LONG_BYTES = 32 << 20
"""Bytes of long states and events after which a transaction defers the remaining groups."""


class EventChanges(NamedTuple):
    """The changes that a step has taken from the table."""

    placed: list[tuple[str, str]]
    """(event, profile)."""
    left: set[str]
    """Profiles that were deleted, or from which events were removed or changed."""
    data: set[str]
    """Events whose data was added, changed or deleted later."""
    since: datetime
    """When the oldest change was recorded."""


class IncrementalResult(NamedTuple):
    """What a step has done."""

    events: int
    """Placed events that were taken."""
    exhausted: bool
    """Whether this transaction's snapshot has no further changes."""


@dataclass(slots=True)
class ProfileWork:
    """What a profile needs."""

    placed: list[str] = field(default_factory=list)
    """Events to count."""
    rebuild: bool = False
    """Whether all its events must be counted again."""


async def apply_event_changes(step: Step) -> IncrementalResult:
    """Apply the oldest event changes, for about as many events as the step allows."""
    changes = await _take_changes(step.connection, step.max_events)
    work = await _group_by_profile(step.connection, changes)

    async def handle(profiles: Sequence[str]) -> StepCounts:
        return await update_profiles(
            step, {profile: work[profile] for profile in profiles}, changes.since
        )

    async def on_failure(profile: str, _: Exception) -> None:
        await store.discard_states(step.connection, [profile])

    await step.for_profiles(list(work), handle, on_failure)
    return IncrementalResult(len(changes.placed), await _is_exhausted(step.connection))


async def read_oldest_age(connection: AsyncConnection[Any]) -> float:
    """Return the seconds since the oldest pending event change was recorded, or 0."""
    cursor = await connection.execute(_SQL["read_oldest_age"])
    (age,) = await cursor.fetchone() or (0,)
    return float(age)


async def update_profiles(
    step: Step, work: Mapping[str, ProfileWork], since: datetime
) -> StepCounts:
    """Count the new events of profiles and write their states and properties.

    Args:
        step: the current step.
        work: what each profile needs.
        since: when the oldest of the changes was recorded.
    """
    known = await store.read_profiles(step.connection, work, SHORT_STATE_BYTES)
    await store.delete_profiles(step.connection, work.keys() - known.keys())
    known = {guid: profile for guid, profile in known.items() if not profile.set_aside}
    placed = [(event, guid) for guid in known for event in work[guid].placed]
    rows = await _read_events(step, placed, SHORT_EVENT_BYTES)
    long = {guid for guid, profile in known.items() if profile.state_bytes > SHORT_STATE_BYTES}
    long.update(row[0] for row in rows if row[7] > SHORT_EVENT_BYTES)
    update = _ProfileUpdate(step, work, (known[guid] for guid in known.keys() - long))
    update.count(store.group_by_profile(row for row in rows if row[0] not in long))
    counts = await update.write()

    event_sizes: dict[tuple[str, str], int] = {
        (row[2], row[0]): row[7] for row in rows if row[0] in long
    }
    sizes = {guid: known[guid].state_bytes for guid in long}
    for (_, guid), size in event_sizes.items():
        sizes[guid] += size
    sizes = dict(sorted(sizes.items(), key=lambda item: item[1]))
    handled = 0
    for group in pack(sizes, GROUP_BYTES):
        if handled > MAX_LONG_BYTES:
            await _defer(step.connection, {guid: work[guid] for guid in group}, since)
            continue
        handled += sum(sizes[guid] for guid in group)
        known = await store.read_profiles(step.connection, group)
        update = _ProfileUpdate(step, work, known.values())
        group_events = {pair: size for pair, size in event_sizes.items() if pair[1] in known}
        for part in pack(group_events, GROUP_BYTES):
            update.count(store.group_by_profile(await _read_events(step, part)))
        counts.add(await update.write())
    return counts


class _ProfileUpdate:
    """Counts new events of some profiles, then writes their states and properties.

    Args:
        step: the current step.
        work: what each profile needs.
        known: the profiles.
    """

    def __init__(
        self, step: Step, work: Mapping[str, ProfileWork], known: Iterable[ProfileRecord]
    ) -> None:
        self._step = step
        self._counts = StepCounts()
        self._errors = ProfileErrors()
        self._known = {profile.guid: profile for profile in known}
        self._to_rebuild = {guid for guid in self._known if work[guid].rebuild}
        self._states: dict[str, ProfileState] = {}
        self._rebuild_states: dict[str, ProfileState] = {}
        self._changed: set[str] = set()
        self._last_events: Mapping[str, Sequence[EventView]] = {}
        for guid, profile in self._known.items():
            with self._errors.catch(guid):
                self._states[guid] = self._initial_state(profile)

    def count(self, events: Mapping[str, Sequence[EventView]]) -> None:
        """Count events, by profile. May be called several times."""
        engine, today = self._step.engine, self._step.today
        for guid, new in events.items():
            if guid not in self._errors.by_profile:
                self._changed.add(guid)
                with self._errors.catch(guid):
                    engine.count(self._states[guid], new, today, self._counts.add_skip)
                    self._count_for_rebuild(self._known[guid], new)
        self._last_events = events

    async def write(self) -> StepCounts:
        """Write what has changed."""
        engine, connection = self._step.engine, self._step.connection
        states: dict[str, tuple[SerializedState, int | None]] = {}
        rebuilds: dict[str, tuple[SerializedState | None, EventKey | None]] = {}
        properties: dict[str, property_store.ProfileProperties] = {}
        for guid, state in self._states.items():
            if guid in self._errors.by_profile:
                continue
            with self._errors.catch(guid):
                expires = engine.expire(state, self._step.today)
                values = engine.compute_properties(state, self._known[guid].user_id)
                changed = guid in self._changed
                new = serialize(engine.without_removed_rules(state)) if changed else None
                rebuild = (
                    serialize(self._rebuild_states[guid]) if guid in self._rebuild_states else None
                )
                properties[guid] = values
                if new:
                    states[guid] = (new, expires)
                if rebuild:
                    rebuilds[guid] = (rebuild, self._known[guid].rebuilt_to)
        self._errors.count_worked(self._step, self._counts, self._last_events)
        failed = self._errors.by_profile.keys()
        await store.write_states(connection, states)
        await store.write_rebuilds(connection, rebuilds)
        await store.start_rebuilds(connection, self._to_rebuild - failed)
        await store.discard_states(connection, failed)
        self._counts.written += await property_store.write_properties(
            connection, engine.keys, properties
        )
        return self._counts

    def _initial_state(self, profile: ProfileRecord) -> ProfileState:
        state = profile.state.deserialize() if profile.state else {}
        missing = self._step.engine.revisions - state.keys()
        if not profile.rebuilding:
            for rule in self._step.rules:
                if str(rule.revision) in missing and profile.created_at > rule.applied_at:
                    state[str(rule.revision)] = None
                    missing -= {str(rule.revision)}
            if missing:
                self._to_rebuild.add(profile.guid)
        return state

    def _count_for_rebuild(self, profile: ProfileRecord, new: Sequence[EventView]) -> None:
        """Add to a running rebuild the new events that it has already passed."""
        rebuilt_to, rebuild_state = profile.rebuilt_to, profile.rebuild_state
        if rebuilt_to is None or rebuild_state is None or profile.guid in self._to_rebuild:
            return
        if passed := [event for event in new if (event.at, event.guid) <= rebuilt_to]:
            state = self._rebuild_states.get(profile.guid) or rebuild_state.deserialize()
            self._step.engine.count(state, passed, self._step.today, ignore_skip)
            self._rebuild_states[profile.guid] = state


async def _take_changes(connection: AsyncConnection[Any], max_events: int) -> EventChanges:
    changes = EventChanges([], set(), set(), datetime.now(UTC))
    cursor = await connection.execute(_SQL["take_changes"], {"max_events": max_events})
    for kind, events, profiles, created_at in await cursor.fetchall():
        changes = changes._replace(since=min(changes.since, created_at))
        match kind:
            case "placed" if len(events or ()) == len(profiles or ()):
                changes.placed.extend(zip(events or (), profiles or (), strict=True))
            case "data":
                changes.data.update(events or ())
            case _:  # "left", or a row that somebody has changed
                changes.left.update(profiles or ())
    return changes


async def _defer(
    connection: AsyncConnection[Any], work: Mapping[str, ProfileWork], since: datetime
) -> None:
    """Leave work to a later transaction."""
    placed = [(event, guid) for guid, needs in work.items() for event in needs.placed]
    await connection.execute(
        _SQL["defer"],
        {
            "events": sql.texts(event for event, _ in placed),
            "profiles": sql.texts(guid for _, guid in placed),
            "rebuild": sql.texts(guid for guid, needs in work.items() if needs.rebuild),
            "created_at": since,
        },
    )


async def _group_by_profile(
    connection: AsyncConnection[Any], changes: EventChanges
) -> dict[str, ProfileWork]:
    work: dict[str, ProfileWork] = {}
    for event, profile in changes.placed:
        work.setdefault(profile, ProfileWork()).placed.append(event)
    with_new_data = changes.data - {event for event, _ in changes.placed}
    for profile in changes.left | await _read_profiles_of(connection, with_new_data):
        work.setdefault(profile, ProfileWork()).rebuild = True
    return work


async def _read_profiles_of(connection: AsyncConnection[Any], events: set[str]) -> set[str]:
    if not events:
        return set()
    cursor = await connection.execute(_SQL["read_profiles_of"], {"events": sql.texts(events)})
    return {profile for (profile,) in await cursor.fetchall()}


async def _read_events(
    step: Step, placed: Sequence[tuple[str, str]], max_bytes: int = UNLIMITED
) -> list[tuple[Any, ...]]:
    """Read the events of types that rules count, without the texts of those with more bytes."""
    if not placed:
        return []
    cursor = await step.connection.execute(
        _SQL["read_placed_events"],
        {
            "events": sql.texts(event for event, _ in placed),
            "profiles": sql.texts(profile for _, profile in placed),
            "types": list(step.engine.types),
            "keys": list(step.engine.data_keys),
            "max_value_bytes": MAX_VALUE_BYTES,
            "max_bytes": max_bytes,
        },
    )
    return await cursor.fetchall()


async def _is_exhausted(connection: AsyncConnection[Any]) -> bool:
    cursor = await connection.execute(_SQL["has_changes"])
    (pending,) = await cursor.fetchone() or (False,)
    return not pending
