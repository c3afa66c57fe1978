"""Read profiles, their merges, and the explanations of their identity."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any

from api import cursors
from api.parameters import PageQuery, ProfileQuery
from api.responses import (
    MAX_ENTRY_BYTES,
    MAX_PAGE_BYTES,
    parse_property,
    take_fitting,
)
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity.explain import Explanation, explain
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "profiles.sql")

CURSOR = "profiles"
MERGES_CURSOR = "merges"

MAX_ANONYMOUS_IDS = 100
"""AnonymousIds that a profile lists."""

MAX_PROPERTY_VALUES = 5000
"""Property values of one profile; each value of an array counts."""


async def read_page(connection: Connection, query: ProfileQuery) -> tuple[dict[str, Any], bool]:
    """Return a page of profiles as JSON has it, and whether it is truncated.

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
    fitting = take_fitting(profiles)
    complete &= fitting.all
    next_cursor = None
    if not complete:
        next_cursor = cursors.encode(CURSOR, profiles[len(fitting.entries) - 1]["guid"])
    elif len(guids) > query.limit:
        next_cursor = cursors.encode(CURSOR, guids[query.limit - 1])
    truncated = not complete or any(profile["moreProperties"] for profile in profiles)
    return {"profiles": fitting.entries, "nextCursor": next_cursor}, truncated


async def read_profile(connection: Connection, guid: str) -> dict[str, Any]:
    """Return a profile, or the one that it merged into, as JSON has it.

    Raises:
        HttpError: NOT_FOUND.
    """
    current = await current_guid(connection, guid)
    (profile,), _ = await read_profiles(connection, [current])
    return {"profile": profile, "mergedFrom": None if current == guid else guid}


async def read_merges(
    connection: Connection, guid: str, query: PageQuery
) -> tuple[dict[str, Any], bool]:
    """Return a page of a profile's merges as JSON has it, and whether it is truncated.

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
    names = ("createdAt", "anonymousId", "eventGuid", "reason", "userId", "loserGuid")
    merges = [dict(zip((*names, "survivorGuid"), row, strict=True)) for row in rows[: query.limit]]
    fitting = take_fitting(merges)
    next_cursor = None
    if len(rows) > len(fitting.entries):
        at, anonymous_id, event = rows[len(fitting.entries) - 1][:3]
        next_cursor = cursors.encode(MERGES_CURSOR, at.isoformat(), anonymous_id, event)
    return {"merges": fitting.entries, "nextCursor": next_cursor}, not fitting.all


async def read_explanations(connection: Connection, guid: str) -> tuple[dict[str, Any], bool]:
    """Return what `merganser explain` shows of a profile, and whether it is truncated.

    Raises:
        HttpError: NOT_FOUND.
    """
    await current_guid(connection, guid)
    explanations = await explain(connection, guid)
    fitting = take_fitting(_explanation_to_json(explanation) for explanation in explanations)
    return {"explanations": fitting.entries}, not fitting.all


def _explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return what a response has of an explanation. Clients rely on the keys."""
    return {
        "id": explanation.id,
        "kind": explanation.kind,
        "because": explanation.text,
        "profile": explanation.profile,
        "userId": explanation.user_id,
        "events": explanation.events,
        "visitors": [
            {
                "anonymousId": known.anonymous_id,
                "profile": known.profile,
                "owner": known.owner,
                "linkEvent": known.link_event,
                "linkedAt": known.linked_at,
            }
            for known in explanation.anonymous_ids
        ],
        "merges": [
            {
                "reason": merge.reason,
                "anonymousId": merge.anonymous_id,
                "loser": merge.loser,
                "survivor": merge.survivor,
                "linkEvent": merge.link_event,
                "at": merge.merged_at,
            }
            for merge in explanation.merges
        ],
        "refused": [
            {
                "event": link.event,
                "anonymousId": link.anonymous_id,
                "userId": link.user_id,
                "owner": link.owner,
            }
            for link in explanation.refused_links
        ],
        "moving": [[move.anonymous_id, move.loser] for move in explanation.pending_moves],
    }


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
    """Return profiles sorted by guid as JSON has them, and whether all fit into a response.

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
