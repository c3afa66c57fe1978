"""The tables of profile states and rebuilds, read and written for many profiles at once."""

import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor

from merganser.rulebook import property_store
from merganser.rulebook.values import DAY, EPOCH, MAX_VALUE_BYTES, to_datetime
from merganser.runtime import set_aside, sql
from merganser.runtime.set_aside import Kind
from properties.rules.engine import Engine, ProfileState
from properties.rules.event_view import EventView

_SQL = sql.load(__package__, "store.sql")

UNLIMITED = 1 << 40
"""Bytes: more than one row of Postgres can have."""

EventKey = tuple[int, str]
"""(occurredAt in microseconds since 1970, guid): what a profile's events are ordered by."""

_LAST_DAY = (date.max - EPOCH.date()).days


class UnreadableState(Exception):
    """The stored state is not the one that was written."""


class SerializedState(NamedTuple):
    """A profile state as the table stores it."""

    text: str | None
    """None: it is too long to be read together with many others."""
    checksum: int

    def deserialize(self) -> ProfileState:
        """Return the state.

        Raises:
            UnreadableState: the checksum does not match, as somebody has changed the row.
        """
        if self.text is None or zlib.crc32(self.text.encode()) != self.checksum:
            raise UnreadableState
        state: ProfileState = json.loads(self.text)
        return state


def serialize(state: ProfileState) -> SerializedState:
    """Return a state as the table stores it."""
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    return SerializedState(text, zlib.crc32(text.encode()))


@dataclass(slots=True)
class ProfileRecord:
    """What is stored of a profile."""

    guid: str
    user_id: str | None
    created_at: datetime
    set_aside: bool
    state_bytes: int
    """Bytes of both states together."""
    state: SerializedState | None
    rebuild_state: SerializedState | None
    """What the rebuild has counted so far; None before its first event or without a rebuild."""
    rebuilding: bool
    """Whether a rebuild waits or has begun."""
    rebuilt_to: EventKey | None
    """The last event that the rebuild has counted."""


async def read_profiles(
    connection: AsyncConnection[Any], guids: Collection[str], max_bytes: int = UNLIMITED
) -> dict[str, ProfileRecord]:
    """Return the profiles that exist, by guid.

    Args:
        connection: to read with.
        guids: guids of profiles.
        max_bytes: do not read the states of a profile that have more bytes.
    """
    values = {"profiles": sql.texts(guids), "max_bytes": max_bytes}
    cursor = await connection.execute(_SQL["read_profiles"], values)
    profiles: dict[str, ProfileRecord] = {}
    for guid, user_id, created_at, aside, size, *states in await cursor.fetchall():
        state, checksum, rebuild, rebuild_checksum, rebuilding, at, last = states
        profiles[guid] = ProfileRecord(
            guid,
            user_id,
            created_at,
            aside,
            size,
            None if checksum is None else SerializedState(state, checksum),
            None if rebuild_checksum is None else SerializedState(rebuild, rebuild_checksum),
            rebuilding,
            None if at is None else (at, last),
        )
    return profiles


async def write_states(
    connection: AsyncConnection[Any], states: Mapping[str, tuple[SerializedState, int | None]]
) -> None:
    """Write states.

    Args:
        connection: in a transaction.
        states: by profile; each with the day on which something leaves a window, if any.
    """
    if states:
        await connection.execute(
            _SQL["write_states"],
            {
                "profiles": sql.texts(states),
                **_to_columns(state for state, _ in states.values()),
                "expires": [_midnight(day) for _, day in states.values()],
            },
        )


async def write_rebuilds(
    connection: AsyncConnection[Any],
    rebuilds: Mapping[str, tuple[SerializedState | None, EventKey | None]],
) -> None:
    """Write how far rebuilds are: by profile, the state so far and the last event in it."""
    if rebuilds:
        events = [event or (None, None) for _, event in rebuilds.values()]
        await connection.execute(
            _SQL["write_rebuilds"],
            {
                "profiles": sql.texts(rebuilds),
                **_to_columns(state for state, _ in rebuilds.values()),
                "reached_at": [None if at is None else to_datetime(at) for at, _ in events],
                "reached_guid": sql.texts(guid for _, guid in events),
            },
        )


async def start_rebuilds(connection: AsyncConnection[Any], guids: Collection[str]) -> None:
    """Schedule profiles to be counted from their first event on, also those set aside before."""
    if guids:
        await connection.execute(_SQL["start_rebuilds"], {"profiles": sql.texts(guids)})


async def discard_states(connection: AsyncConnection[Any], guids: Collection[str]) -> None:
    """Delete states that cannot be used, and start rebuilds of these profiles."""
    if guids:
        await connection.execute(_SQL["delete_states"], {"profiles": sql.texts(guids)})
        await start_rebuilds(connection, guids)


async def delete_states(connection: AsyncConnection[Any], guids: Collection[str]) -> int:
    """Delete the states of profiles; return how many."""
    cursor = await connection.execute(_SQL["delete_states"], {"profiles": sql.texts(guids)})
    return cursor.rowcount


async def delete_rebuilds(connection: AsyncConnection[Any], guids: Collection[str]) -> int:
    """Delete the rebuilds of profiles, which have finished or cannot finish; return how many."""
    cursor = await connection.execute(_SQL["delete_rebuilds"], {"profiles": sql.texts(guids)})
    return cursor.rowcount


async def delete_profiles(
    connection: AsyncConnection[Any], guids: Collection[str]
) -> dict[str, int]:
    """Delete the states and properties of profiles that no longer exist.

    Returns:
        The number of deleted rows by table.
    """
    if not guids:
        return {}
    return {
        "propertyStates": await delete_states(connection, guids),
        "propertyRecounts": await delete_rebuilds(connection, guids),
        "setAside": await set_aside.delete(connection, [Kind.PROFILE], guids),
        "profileProperties": await property_store.delete_properties(connection, guids),
    }


async def count_rebuilds(connection: AsyncConnection[Any]) -> int:
    """Return the number of profiles that wait for a rebuild, for any reason."""
    cursor = await connection.execute(_SQL["count_rebuilds"])
    (count,) = await cursor.fetchone() or (0,)
    return int(count)


async def count_events(connection: AsyncConnection[Any], profile: str, limit: int) -> int:
    """Return how many events a profile has, at most `limit`."""
    values = {"profile": profile, "limit": limit}
    (count,) = await (await connection.execute(_SQL["count_events"], values)).fetchone() or (0,)
    return int(count)


async def select_events(
    cursor: AsyncCursor[Any], engine: Engine, profiles: Collection[str]
) -> None:
    """Select all events of profiles that rules count, unordered, as `group_by_profile` reads them.

    Args:
        cursor: fetches the rows; one with a name fetches a few at a time.
        engine: the rules.
        profiles: guids.
    """
    await cursor.execute(
        _SQL["read_events"],
        {
            "profiles": list(profiles),
            "types": list(engine.types),
            "keys": list(engine.data_keys),
            "max_value_bytes": MAX_VALUE_BYTES,
        },
    )


def group_by_profile(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[EventView]]:
    """Return events by profile.

    Args:
        rows: (profile, microseconds, guid, type, userId, ipAddress, data, ...).
    """
    events: dict[str, list[EventView]] = {}
    for profile, at, guid, type_, user_id, ip_address, data, *_ in rows:
        events.setdefault(profile, []).append(
            EventView(at, guid, type_, user_id, ip_address, data or {})
        )
    return events


def _to_columns(states: Iterable[SerializedState | None]) -> dict[str, Any]:
    columns = [(None, None) if state is None else state for state in states]
    return {
        "states": sql.texts(text for text, _ in columns),
        "checksums": [checksum for _, checksum in columns],
    }


def _midnight(day: int | None) -> datetime | None:
    """Return when a day begins, or None if it is after the last day that Python has."""
    return None if day is None or day > _LAST_DAY else to_datetime(day * DAY)
