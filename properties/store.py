"""What Postgres remembers of profiles: read and written for many of them at once."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from properties.occurrence import Occurrence
from properties.reckoning import DAY, ProfileState, Rulebook
from properties.values import moment
from runtime import sql

SQL = sql.load(__package__, "counting.sql")

Place = tuple[int, str]
"""(occurredAt in microseconds, guid): where in the order of a profile's events."""

Values = Mapping[str, Sequence[str]]
"""key -> values."""


@dataclass(slots=True)
class Remembered:
    """A profile as of now."""

    guid: str
    user_id: str | None
    created_at: datetime
    state: ProfileState | None
    recount: ProfileState | None
    """What a new count has counted so far; None when there is no new count."""
    reached: Place | None
    """The last event that the new count has counted."""


async def profiles(
    connection: AsyncConnection[Any], guids: Collection[str]
) -> dict[str, Remembered]:
    """The profiles with these guids; those that are no more are missing."""
    cursor = await connection.execute(SQL["profiles"], {"profiles": list(guids)})
    return {
        guid: Remembered(
            guid, user_id, created_at, state, recount, None if at is None else (at, last)
        )
        for guid, user_id, created_at, state, recount, at, last in await cursor.fetchall()
    }


async def put_states(
    connection: AsyncConnection[Any], states: Mapping[str, tuple[ProfileState, int | None]]
) -> None:
    """Remember states by profile, each with the day in UTC on which something leaves it."""
    if states:
        await connection.execute(
            SQL["put_states"],
            {
                "profiles": list(states),
                "states": [_json(state) for state, _ in states.values()],
                "expires": [
                    None if day is None else moment(day * DAY) for _, day in states.values()
                ],
            },
        )


async def put_recounts(
    connection: AsyncConnection[Any], recounts: Mapping[str, tuple[ProfileState, Place | None]]
) -> None:
    """Remember how far new counts have come, by profile."""
    if recounts:
        places = [place or (None, None) for _, place in recounts.values()]
        await connection.execute(
            SQL["put_recounts"],
            {
                "profiles": list(recounts),
                "states": [_json(state) for state, _ in recounts.values()],
                "reached_at": [None if at is None else moment(at) for at, _ in places],
                "reached_guid": [guid for _, guid in places],
            },
        )


async def put_properties(
    connection: AsyncConnection[Any], book: Rulebook, wanted: Mapping[str, Values]
) -> int:
    """Make stored properties what they should be; only what differs is written.

    Args:
        connection: in a transaction.
        book: whose keys alone are looked at: others belong to decoration.
        wanted: by profile; a key that is missing there is left as it is.

    Returns:
        How many values were written or dropped.
    """
    cursor = await connection.execute(
        SQL["properties"], {"profiles": list(wanted), "keys": book.keys}
    )
    stored = {
        (profile, key, position): value
        for profile, key, position, value in await cursor.fetchall()
        if key in wanted[profile]
    }
    right = {
        (profile, key, position): value
        for profile, properties in wanted.items()
        for key, values in properties.items()
        for position, value in enumerate(values)
    }
    put = [item for item in right.items() if stored.get(item[0]) != item[1]]
    drop = [place for place in stored if place not in right]
    if put:
        await connection.execute(
            SQL["put_properties"],
            {**_places(place for place, _ in put), "values": [value for _, value in put]},
        )
    if drop:
        await connection.execute(SQL["drop_properties"], _places(drop))
    return len(put) + len(drop)


async def forget(connection: AsyncConnection[Any], gone: Collection[str]) -> None:
    """Forget profiles that are no more, with all their properties."""
    if gone:
        for statement in ("forget_states", "forget_recounts", "forget_properties"):
            await connection.execute(SQL[statement], {"profiles": list(gone)})


def occurrences(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Occurrence]]:
    """Events by profile, of rows (profile, microseconds, guid, type, userId, ipAddress, data)."""
    found: dict[str, list[Occurrence]] = {}
    for profile, at, guid, kind, user_id, ip_address, data in rows:
        found.setdefault(profile, []).append(
            Occurrence(at, guid, kind, user_id, ip_address, data or {})
        )
    return found


def _places(places: Iterable[tuple[str, str, int]]) -> dict[str, list[Any]]:
    guids, keys, positions = zip(*places, strict=True)
    return {"profiles": list(guids), "keys": list(keys), "positions": list(positions)}


def _json(state: ProfileState) -> str:
    return json.dumps(state, ensure_ascii=False, separators=(",", ":"))
