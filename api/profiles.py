"""Profiles: pages, one, its merges, and why it is what it is."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any

from api import cursors
from api.parameters import Page, Profiles
from api.responses import MOST_BYTES, MOST_OF_ONE, first, plain, typed
from merganser.http.errors import ErrorKind, HttpError
from merganser.identity import explain
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "profiles.sql")

CURSOR = "profiles"
MERGES_CURSOR = "merges"

MOST_VISITORS = 100
"""AnonymousIds that are listed of one profile."""

MOST_PROPERTIES = 5000
"""Values of properties of one profile, those of arrays counted each."""


async def page(connection: Connection, asked: Profiles) -> tuple[dict[str, Any], bool]:
    """A page of profiles as JSON has it, and whether it is cut.

    Raises:
        HttpError: MALFORMED, the cursor is none.
    """
    (after,) = cursors.decode(asked.cursor, CURSOR, 1) if asked.cursor is not None else ("",)
    values = {
        "after": after,
        "wanted": asked.limit + 1,
        "userId": asked.user_id,
        "anonymousId": asked.anonymous_id,
        "property": asked.property,
        "value": asked.value,
    }
    rows = await (await connection.execute(_SQL[_way(asked)], values)).fetchall()
    guids = [guid for (guid,) in rows]
    found, fit = await some(connection, guids[: asked.limit])
    shown = first(found)
    fit &= shown.all
    onward = None
    if not fit:
        onward = cursors.encode(CURSOR, found[len(shown.entries) - 1]["guid"])
    elif len(guids) > asked.limit:
        onward = cursors.encode(CURSOR, guids[asked.limit - 1])
    cut = not fit or any(one["moreProperties"] for one in found)
    return {"profiles": shown.entries, "nextCursor": onward}, cut


async def one(connection: Connection, guid: str) -> dict[str, Any]:
    """A profile as JSON has it, or the one that it merged into.

    Raises:
        HttpError: NOT_FOUND.
    """
    here = await found(connection, guid)
    (profile,), _ = await some(connection, [here])
    return {"profile": profile, "mergedFrom": None if here == guid else guid}


async def merges(connection: Connection, guid: str, asked: Page) -> tuple[dict[str, Any], bool]:
    """A page of a profile's merges as JSON has it, and whether it is cut.

    Raises:
        HttpError: NOT_FOUND; MALFORMED, the cursor is none.
    """
    before, before_id, before_guid = cursors.LAST, "", ""
    if asked.cursor is not None:
        at, before_id, before_guid = cursors.decode(asked.cursor, MERGES_CURSOR, 3)
        before = cursors.at(at)
    values = {
        "guid": await found(connection, guid),
        "wanted": asked.limit + 1,
        "before": before,
        "beforeId": before_id,
        "beforeGuid": before_guid,
    }
    rows = await (await connection.execute(_SQL["merges"], values)).fetchall()
    names = ("createdAt", "anonymousId", "eventGuid", "reason", "userId", "loserGuid")
    listed = [dict(zip((*names, "survivorGuid"), row, strict=True)) for row in rows[: asked.limit]]
    shown = first(listed)
    onward = None
    if len(rows) > len(shown.entries):
        at, anonymous_id, event = rows[len(shown.entries) - 1][:3]
        onward = cursors.encode(MERGES_CURSOR, at.isoformat(), anonymous_id, event)
    return {"merges": shown.entries, "nextCursor": onward}, not shown.all


async def why(connection: Connection, guid: str) -> tuple[dict[str, Any], bool]:
    """What `merganser explain` says of a profile, and whether that is cut.

    Raises:
        HttpError: NOT_FOUND.
    """
    await found(connection, guid)
    shown = first(plain(one) for one in await explain.explain(connection, guid))
    return {"explanations": shown.entries}, not shown.all


async def found(connection: Connection, guid: str) -> str:
    """The guid of a profile today.

    Raises:
        HttpError: NOT_FOUND.
    """
    here = await today(connection, guid)
    if here is None:
        raise HttpError(
            ErrorKind.NOT_FOUND,
            "no such profile, and none that merged: /api/v1/profiles lists those there are",
        )
    return here


async def today(connection: Connection, guid: str) -> str | None:
    """The guid of a profile today: its own, or that of the one it merged into; None if neither."""
    row = await (await connection.execute(_SQL["today"], {"guid": guid})).fetchone()
    return row[0] if row else None


async def some(connection: Connection, guids: Sequence[str]) -> tuple[list[dict[str, Any]], bool]:
    """Profiles as JSON has them, in the order of their guids, and whether an answer holds them all.

    It has at least the first one. Those that are gone, or going at this moment, are left out.
    """
    values = {"guids": list(guids)}
    rows = await (await connection.execute(_SQL["profiles"], values)).fetchall()
    guids = [row[0] for row in rows]
    visitors = await _by_profile(connection, "visitors", guids, MOST_VISITORS + 1)
    properties = await _by_profile(connection, "properties", guids, MOST_PROPERTIES)
    fitting = list(takewhile(lambda row: _fit(visitors, row[0]) and _fit(properties, row[0]), rows))
    found = [
        {
            "guid": guid,
            "userId": user_id,
            "anonymousIds": [row[1] for row in visitors.get(guid, [])][:MOST_VISITORS],
            "moreAnonymousIds": len(visitors.get(guid, [])) > MOST_VISITORS,
            "createdAt": created_at,
            "updatedAt": updated_at,
            "properties": _properties(properties.get(guid, [])),
            "moreProperties": any(row[6] for row in properties.get(guid, [])),
        }
        for guid, user_id, created_at, updated_at in fitting
    ]
    return found, len(fitting) == len(rows)


async def _by_profile(
    connection: Connection, statement: str, guids: Sequence[str], most: int
) -> dict[str, list[Any]]:
    values = {"guids": list(guids), "most": most, "bytes": MOST_BYTES, "one": MOST_OF_ONE}
    rows = await (await connection.execute(_SQL[statement], values)).fetchall()
    return {guid: list(own) for guid, own in groupby(rows, itemgetter(0))}


def _fit(rows: Mapping[str, Sequence[Any]], guid: str) -> bool:
    """Whether the statement gave the rows of a profile their values."""
    return not any(row[2] for row in rows.get(guid, [])[:1])


def _properties(rows: Iterable[Any]) -> dict[str, Any]:
    """Rows of (profile, key, whether beyond, value, type, whether an array, …) as an object."""
    found: dict[str, Any] = {}
    for _, key, _, text, kind, array, _ in rows:
        if text is None:
            continue
        value = typed(text, kind)
        if array:
            found.setdefault(key, []).append(value)
        else:
            found[key] = value
    return found


def _way(asked: Profiles) -> str:
    if asked.user_id is not None:
        return "by_user"
    if asked.anonymous_id is not None:
        return "by_visitor"
    return "by_guid" if asked.property is None else "by_property"
