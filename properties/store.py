"""What Postgres remembers of profiles: read and written for many of them at once."""

import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.rulebook import property_store
from merganser.rulebook.values import DAY, EPOCH, moment
from merganser.runtime import sql
from properties.rules.engine import ProfileState
from properties.rules.event_view import Occurrence

SQL = sql.load(__package__, "counting.sql")

UNLIMITED = 1 << 40
"""Bytes: more than a row of Postgres has."""

Place = tuple[int, str]
"""(occurredAt in microseconds, guid): where in the order of a profile's events."""

_LAST_DAY = (date.max - EPOCH.date()).days


class UnreadableState(Exception):
    """What is stored is not what was written."""


class Written(NamedTuple):
    """A state as it is stored."""

    text: str | None
    """None where it is too long to be read with many others."""
    checksum: int

    def read(self) -> ProfileState:
        """The state.

        Raises:
            UnreadableState: somebody else has written it.
        """
        if self.text is None or zlib.crc32(self.text.encode()) != self.checksum:
            raise UnreadableState
        state: ProfileState = json.loads(self.text)
        return state


def written(state: ProfileState) -> Written:
    """A state as it is to be stored."""
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    return Written(text, zlib.crc32(text.encode()))


@dataclass(slots=True)
class Remembered:
    """A profile as of now."""

    guid: str
    user_id: str | None
    created_at: datetime
    set_aside: bool
    bytes: int
    """Of the states."""
    state: Written | None
    recount: Written | None
    """What a new count has counted so far; None before its first event, or without one."""
    recounting: bool
    """Whether there is a new count."""
    reached: Place | None
    """The last event that the new count has counted."""


async def profiles(
    connection: AsyncConnection[Any], guids: Collection[str], most: int = UNLIMITED
) -> dict[str, Remembered]:
    """The profiles with these guids; those that are no more are missing.

    Args:
        connection: to read with.
        guids: of profiles.
        most: bytes of a profile's states, beyond which they are not read.
    """
    values = {"profiles": sql.texts(guids), "most": most}
    cursor = await connection.execute(SQL["profiles"], values)
    found: dict[str, Remembered] = {}
    for guid, user_id, created_at, aside, size, *rest in await cursor.fetchall():
        state, checksum, recount, recount_checksum, recounting, at, last = rest
        found[guid] = Remembered(
            guid,
            user_id,
            created_at,
            aside,
            size,
            None if checksum is None else Written(state, checksum),
            None if recount_checksum is None else Written(recount, recount_checksum),
            recounting,
            None if at is None else (at, last),
        )
    return found


async def put_states(
    connection: AsyncConnection[Any], states: Mapping[str, tuple[Written, int | None]]
) -> None:
    """Remember states by profile, each with the day in UTC on which something leaves it."""
    if states:
        await connection.execute(
            SQL["put_states"],
            {
                "profiles": sql.texts(states),
                **_columns(state for state, _ in states.values()),
                "expires": [_midnight(day) for _, day in states.values()],
            },
        )


async def put_recounts(
    connection: AsyncConnection[Any],
    recounts: Mapping[str, tuple[Written | None, Place | None]],
) -> None:
    """Remember how far new counts have come, by profile."""
    if recounts:
        places = [place or (None, None) for _, place in recounts.values()]
        await connection.execute(
            SQL["put_recounts"],
            {
                "profiles": sql.texts(recounts),
                **_columns(state for state, _ in recounts.values()),
                "reached_at": [None if at is None else moment(at) for at, _ in places],
                "reached_guid": sql.texts(guid for _, guid in places),
            },
        )


async def begin_recounts(connection: AsyncConnection[Any], guids: Collection[str]) -> None:
    """Have profiles counted again from their first event on; also those that were set aside."""
    if guids:
        await connection.execute(SQL["begin_recounts"], {"profiles": sql.texts(guids)})


async def start_over(connection: AsyncConnection[Any], guids: Collection[str]) -> None:
    """Have profiles counted again whose states, or some events for them, are of no use."""
    if guids:
        await connection.execute(SQL["forget_states"], {"profiles": sql.texts(guids)})
        await begin_recounts(connection, guids)


async def forget(connection: AsyncConnection[Any], gone: Collection[str]) -> None:
    """Forget profiles that are no more, with all their properties."""
    if gone:
        for statement in ("forget_states", "forget_recounts", "forget_set_aside"):
            await connection.execute(SQL[statement], {"profiles": sql.texts(gone)})
        await property_store.forget(connection, gone)


def occurrences(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Occurrence]]:
    """Events by profile, of rows (profile, microseconds, guid, type, userId, ipAddress, data)."""
    found: dict[str, list[Occurrence]] = {}
    for profile, at, guid, kind, user_id, ip_address, data, *_ in rows:
        found.setdefault(profile, []).append(
            Occurrence(at, guid, kind, user_id, ip_address, data or {})
        )
    return found


def _columns(states: Iterable[Written | None]) -> dict[str, Any]:
    columns = [(None, None) if state is None else state for state in states]
    return {
        "states": sql.texts(text for text, _ in columns),
        "checksums": [checksum for _, checksum in columns],
    }


def _midnight(day: int | None) -> datetime | None:
    """When a day begins; None for one that no time of Postgres, as we take them, can be of."""
    return None if day is None or day > _LAST_DAY else moment(day * DAY)
