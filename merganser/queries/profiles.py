"""Read profiles and their merges."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any, Literal

from merganser.http.errors import ErrorKind, HttpError
from merganser.queries import cursors
from merganser.queries.limits import MAX_ENTRY_BYTES, MAX_PAGE_BYTES
from merganser.queries.parameters import PageQuery, ProfileQuery
from merganser.runtime import sql
from merganser.runtime.postgres import Connection
from schemas import exact_json

_SQL = sql.load(__package__, "profiles.sql")

CURSOR = "profiles"
MERGES_CURSOR = "merges"

MAX_ANONYMOUS_IDS = 100
"""AnonymousIds that a profile lists."""

MAX_PROPERTY_VALUES = 5000
"""Property values of one profile; each value of an array counts."""

MAX_FIRST_EVENTS = 200
"""Events of one anonymousId that are read to find the earliest."""

_MERGE_FIELDS = (
    *("createdAt", "anonymousId", "eventGuid", "reason", "userId"),
    *("loserGuid", "survivorGuid"),
)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


async def read_page(connection: Connection, query: ProfileQuery) -> cursors.Page:
    """Return a page of profiles.

    Raises:
        HttpError: MALFORMED, the cursor is not one of this page.
    """
    (after,) = cursors.decode(query.cursor, CURSOR, 1) if query.cursor is not None else ("",)
    values = {
        "after": after,
        "limit": query.limit + 1,
        "userId": query.user_id,
        "anonymousId": query.anonymous_id,
        "property": query.property,
        "value": query.value,
    }
    rows = await (await connection.execute(_SQL[_statement(query)], values)).fetchall()
    guids = [guid for (guid,) in rows]
    profiles, complete = await read_profiles(connection, guids[: query.limit])
    next_cursor = None
    if not complete:
        next_cursor = cursors.encode(CURSOR, profiles[-1]["guid"])
    elif len(guids) > query.limit:
        next_cursor = cursors.encode(CURSOR, guids[query.limit - 1])
    return cursors.Page(
        profiles,
        next_cursor,
        cursor_after=lambda count: cursors.encode(CURSOR, profiles[count - 1]["guid"]),
        truncated=not complete or any(profile["moreProperties"] for profile in profiles),
    )


async def read_profile(connection: Connection, guid: str) -> dict[str, Any]:
    """Return a profile, or the one that it merged into.

    Raises:
        HttpError: NOT_FOUND.
    """
    current = await current_guid(connection, guid)
    (profile,), _ = await read_profiles(connection, [current])
    return {"profile": profile, "mergedFrom": None if current == guid else guid}


async def read_merges(connection: Connection, guid: str, query: PageQuery) -> cursors.Page:
    """Return a page of a profile's merges.

    Raises:
        HttpError: NOT_FOUND; MALFORMED, the cursor is not one of this page.
    """
    before, before_id, before_guid = cursors.LATEST, "", ""
    if query.cursor is not None:
        at, before_id, before_guid = cursors.decode(query.cursor, MERGES_CURSOR, 3)
        before = cursors.parse_time(at)
    values = {
        "guid": await current_guid(connection, guid),
        "limit": query.limit + 1,
        "before": before,
        "beforeId": before_id,
        "beforeGuid": before_guid,
    }
    rows = await (await connection.execute(_SQL["merges"], values)).fetchall()
    merges = [dict(zip(_MERGE_FIELDS, row, strict=True)) for row in rows[: query.limit]]

    def cursor_after(count: int) -> str:
        at, anonymous_id, event = rows[count - 1][:3]
        return cursors.encode(MERGES_CURSOR, at.isoformat(), anonymous_id, event)

    next_cursor = cursor_after(len(merges)) if len(rows) > len(merges) else None
    return cursors.Page(merges, next_cursor, cursor_after, truncated=False)


async def read_newest_merges(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the merges of all profiles, newest first, with the fields of `read_merges`."""
    rows = await (await connection.execute(_SQL["newest_merges"], {"limit": limit})).fetchall()
    return [dict(zip(_MERGE_FIELDS, row, strict=True)) for row in rows]


async def read_merges_of_event(
    connection: Connection, event: str, anonymous_id: str
) -> list[dict[str, Any]]:
    """Return the merges that an event with this anonymousId caused, the oldest first."""
    values = {"event": event, "anonymousId": anonymous_id, "limit": MAX_ANONYMOUS_IDS}
    rows = await (await connection.execute(_SQL["merges_of_event"], values)).fetchall()
    return [dict(zip(_MERGE_FIELDS, row, strict=True)) for row in rows]


async def count_merges(connection: Connection, since: datetime, limit: int) -> int:
    """Return how many merges there were since a time, at most `limit`."""
    values = {"since": since, "limit": limit}
    (count,) = await (await connection.execute(_SQL["count_merges"], values)).fetchone() or (0,)
    return int(count)


async def read_newest(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the profiles with the greatest guids: the newest ones, if guids are UUIDv7."""
    rows = await (await connection.execute(_SQL["newest_profiles"], {"limit": limit})).fetchall()
    profiles, _ = await read_profiles(connection, [guid for (guid,) in rows])
    return profiles[::-1]


@dataclass(frozen=True, slots=True)
class Sample:
    """Some profiles, to estimate something from."""

    user_ids: dict[str, str | None]
    """By guid; known users first."""
    is_complete: bool
    """Whether these are all profiles."""


async def read_sample(connection: Connection, limit: int) -> Sample:
    """Return all profiles if there are at most `limit`, else about so many of random pages."""
    values = {"maxProfiles": limit}
    rows = await (await connection.execute(_SQL["sample"], values)).fetchall()
    user_ids = {guid: user_id for guid, user_id, _ in rows}
    return Sample(user_ids, is_complete=all(complete for _, _, complete in rows))


async def count_values(
    connection: Connection, guids: Iterable[str], keys: Iterable[str]
) -> dict[str, int]:
    """Return how many of these profiles have a value of each property, by key."""
    values = {"guids": sql.texts(guids), "keys": sql.texts(keys)}
    return dict(await (await connection.execute(_SQL["count_values"], values)).fetchall())


IdKind = Literal["guid", "merged guid", "userId", "anonymousId"]


@dataclass(frozen=True, slots=True)
class Match:
    """A profile that an id leads to."""

    kind: IdKind
    """What the id is."""
    profile: dict[str, Any]


async def find(connection: Connection, text: str) -> list[Match]:
    """Return the profiles that an id leads to.

    Args:
        connection: in a transaction on one snapshot.
        text: a profile's guid, the guid of a profile that merged, a userId or an anonymousId.
    """
    found: list[tuple[IdKind, str]] = []
    if guid := await follow_merges(connection, text):
        found.append(("guid" if guid == text else "merged guid", guid))
    values = {"after": "", "userId": text, "anonymousId": text}
    statements: dict[IdKind, str] = {"userId": "by_user", "anonymousId": "by_anonymous_id"}
    for kind, statement in statements.items():
        rows = await (await connection.execute(_SQL[statement], values)).fetchall()
        found += [(kind, guid) for (guid,) in rows]
    profiles, _ = await read_profiles(connection, sorted({guid for _, guid in found}))
    by_guid = {profile["guid"]: profile for profile in profiles}
    return [Match(kind, by_guid[guid]) for kind, guid in found if guid in by_guid]


async def read_property_times(connection: Connection, guid: str) -> dict[str, datetime]:
    """Return when each property of a profile changed last, by its key."""
    values = {"guid": guid, "maxRows": MAX_PROPERTY_VALUES}
    return dict(await (await connection.execute(_SQL["property_times"], values)).fetchall())


async def read_first_seen(
    connection: Connection, anonymous_ids: Sequence[str]
) -> dict[str, datetime]:
    """Return about when anonymousIds were first seen. Of those without an event, nothing."""
    values = {"ids": list(anonymous_ids), "maxEvents": MAX_FIRST_EVENTS}
    return dict(await (await connection.execute(_SQL["first_seen"], values)).fetchall())


async def current_guid(connection: Connection, guid: str) -> str:
    """Return the guid of a profile, or of the one that it merged into.

    Raises:
        HttpError: NOT_FOUND.
    """
    current = await follow_merges(connection, guid)
    if current is None:
        raise HttpError(
            ErrorKind.NOT_FOUND,
            "no such profile, and none that was merged: /api/v1/profiles lists all profiles",
        )
    return current


async def follow_merges(connection: Connection, guid: str) -> str | None:
    """Return the guid of a profile, or of the one that it merged into; None if neither exists."""
    row = await (await connection.execute(_SQL["follow_merges"], {"guid": guid})).fetchone()
    return row[0] if row else None


async def read_profiles(
    connection: Connection, guids: Sequence[str]
) -> tuple[list[dict[str, Any]], bool]:
    """Return profiles sorted by guid, and whether all fit into a response.

    At least the first one fits. Profiles that do not exist any more are left out.
    """
    values = {"guids": list(guids)}
    rows = await (await connection.execute(_SQL["profiles"], values)).fetchall()
    guids = [row[0] for row in rows]
    anonymous_ids = await _by_profile(connection, "anonymous_ids", guids, MAX_ANONYMOUS_IDS + 1)
    properties = await _by_profile(connection, "properties", guids, MAX_PROPERTY_VALUES)
    fitting = list(
        takewhile(lambda row: _fits(anonymous_ids, row[0]) and _fits(properties, row[0]), rows)
    )
    profiles = [
        {
            "guid": guid,
            "userId": user_id,
            "anonymousIds": [row[1] for row in anonymous_ids.get(guid, [])][:MAX_ANONYMOUS_IDS],
            "moreAnonymousIds": len(anonymous_ids.get(guid, [])) > MAX_ANONYMOUS_IDS,
            "createdAt": created_at,
            "updatedAt": updated_at,
            "properties": _properties(properties.get(guid, [])),
            "moreProperties": any(row[6] for row in properties.get(guid, [])),
        }
        for guid, user_id, created_at, updated_at in fitting
    ]
    return profiles, len(fitting) == len(rows)


async def _by_profile(
    connection: Connection, statement: str, guids: Sequence[str], max_rows: int
) -> dict[str, list[Any]]:
    values = {
        "guids": list(guids),
        "maxRows": max_rows,
        "maxTotalBytes": MAX_PAGE_BYTES,
        "maxProfileBytes": MAX_ENTRY_BYTES,
    }
    rows = await (await connection.execute(_SQL[statement], values)).fetchall()
    return {guid: list(group) for guid, group in groupby(rows, itemgetter(0))}


def _fits(rows: Mapping[str, Sequence[Any]], guid: str) -> bool:
    """Return whether the statement returned the values of a profile's rows."""
    return not any(row[2] for row in rows.get(guid, [])[:1])


def _properties(rows: Iterable[Any]) -> dict[str, Any]:
    """Return an object of rows (profile, key, exceeds_total, value, type, is array, more)."""
    properties: dict[str, Any] = {}
    for _, key, _, text, kind, array, _ in rows:
        if text is None:
            continue
        value = parse_property(text, kind)
        if array:
            properties.setdefault(key, []).append(value)
        else:
            properties[key] = value
    return properties


def _statement(query: ProfileQuery) -> str:
    if query.user_id is not None:
        return "by_user"
    if query.anonymous_id is not None:
        return "by_anonymous_id"
    return "by_guid" if query.property is None else "by_property"


def parse_property(text: str, kind: str | None) -> str | bool | exact_json.Number:
    """Convert a property's value to its rule's type; a value that does not fit stays text."""
    match kind:
        case "integer" | "float" if _NUMBER.fullmatch(text):
            return exact_json.Number(text)
        case "boolean" if text in {"true", "false"}:
            return text == "true"
        case _:
            return text
