"""Events: pages, one, and the deletion of one.

A page looks at a bounded number of events, in the order of one index, whatever the filters: it may
end before it is full, and its cursor stands where it stopped. `api/sql/events.sql` has the parts.
What an event has beyond a bound is left out, and the event says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from api import cursors, profiles
from api.parameters import Events
from api.responses import MOST_BYTES, MOST_OF_ONE, first
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "events.sql")

CURSOR = "events"

MOST_DATA = 1000
"""Rows of data of one event: ingest takes fewer, external systems could write any number."""

LONGEST_KEY = 16 << 10
"""Bytes of a key of data: a longer one is left out."""

LONGEST_NAME = 512
"""Bytes of what only external systems can make longer: addresses, and guids of others."""

_FIELDS = (
    *("guid", "type", "producerGuid", "profileGuid", "ipAddress", "userId", "anonymousId"),
    *("createdAt", "occurredAt", "updatedAt"),
)

Row = tuple[Any, ...]


async def page(connection: Connection, asked: Events, scan: int) -> tuple[dict[str, Any], bool]:
    """A page of events as JSON has it, and whether it is cut.

    Args:
        connection: in a transaction on one snapshot.
        asked: filters, limit and cursor.
        scan: rows to look at, at most.

    Raises:
        HttpError: MALFORMED, the cursor is none.
    """
    values = _values(asked, scan)
    way = await _way(connection, asked, values)
    rows, onward = await _read(connection, way, values) if way else ([], None)
    found = await with_data(connection, rows)
    shown = first(found)
    if len(shown.entries) < len(rows):
        onward = _cursor(rows[len(shown.entries) - 1])
    cut = len(shown.entries) < len(rows) or any(one["moreData"] for one in found)
    return {"events": shown.entries, "nextCursor": onward}, cut


async def one(connection: Connection, guid: str) -> dict[str, Any]:
    """An event as JSON has it.

    Raises:
        HttpError: NOT_FOUND.
    """
    for event in await some(connection, [guid]):
        return event
    raise HttpError(ErrorKind.NOT_FOUND, "no such event: /api/v1/events lists those there are")


async def some(connection: Connection, guids: Sequence[str]) -> list[dict[str, Any]]:
    """Events by their guids, as `with_data` has them."""
    rows = await _rows(connection, _SQL["events"], {"guids": guids, "longestName": LONGEST_NAME})
    return await with_data(connection, rows)


async def with_data(connection: Connection, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Events as JSON has them, each with its data: the first ones, as many as an answer holds.

    Args:
        connection: in the transaction of the rows.
        rows: the fields of events, and whether a field was left out.
    """
    events = [
        dict(zip(_FIELDS, row, strict=False)) | {"data": {}, "moreData": row[len(_FIELDS)]}
        for row in rows
    ]
    values = {
        "guids": [row[0] for row in rows],
        "most": MOST_DATA,
        "bytes": MOST_BYTES,
        "one": MOST_OF_ONE,
        "longestKey": LONGEST_KEY,
    }
    data = await _rows(connection, _SQL["data"], values) if rows else []
    for place, key, value, beyond, more in data:
        if beyond:
            return events[:place]
        events[place]["moreData"] |= more
        if key is not None and value is not None:
            events[place]["data"][key] = value
    return events


async def delete(connection: Connection, guid: str, *, may_read: bool) -> None:
    """Delete an event and its data.

    Identity is a function of the events stored. The event that gave an anonymousId to its user
    must stay: without it, nothing would tell why the visitor is that user.

    Args:
        connection: in a transaction.
        guid: of the event.
        may_read: a refusal may name the event's ids.

    Raises:
        HttpError: NOT_FOUND, or CONFLICT for such an event.
    """
    values = {"guid": guid}
    if not await _rows(connection, _SQL["lock_event"], values):
        raise HttpError(ErrorKind.NOT_FOUND, "no such event: it may have been deleted before")
    # A statement of its own, to see what the lock was waited for.
    if owned := await _rows(connection, _SQL["link_of"], values):
        ((anonymous_id, user_id),) = owned
        link = f"anonymousId {anonymous_id} belongs to user {user_id}"
        raise HttpError(
            ErrorKind.CONFLICT,
            f"this event is why {link if may_read else 'its anonymousId belongs to its user'}: it "
            "stays, or identity could not be explained; delete other events of theirs",
        )
    # In the order in which all writers come to the tables.
    await connection.execute(_SQL["delete_event"], values)
    await connection.execute(_SQL["delete_data"], values)


def _values(asked: Events, scan: int) -> dict[str, Any]:
    before, guid = cursors.LAST, cursors.ABOVE
    if asked.cursor is not None:
        at, guid = cursors.decode(asked.cursor, CURSOR, 2)
        before = cursors.at(at)
    elif asked.until is not None and asked.associated is not False:
        # Those without a profile are passed by another time.
        before, guid = asked.until, ""
    return {
        "scan": scan,
        "wanted": asked.limit + 1,
        "before": before,
        "beforeGuid": guid,
        "since": asked.since or cursors.FIRST,
        "until": asked.until,
        "timeline": asked.profile_guid,
        "profileGuid": asked.profile_guid,
        "userId": asked.user_id,
        "anonymousId": asked.anonymous_id,
        "type": asked.type,
        "associated": asked.associated,
        "dataKey": asked.data_key,
        "dataValue": asked.data_value,
        "longestName": LONGEST_NAME,
    }


async def _way(connection: Connection, asked: Events, values: dict[str, Any]) -> str | None:
    """The scan with the fewest rows to pass; None if there cannot be any."""
    if asked.associated is False:
        return "scan_unresolved"
    if asked.profile_guid is not None:
        today = await profiles.today(connection, asked.profile_guid)
        values["timeline"] = values["profileGuid"] = today
        return "scan_profile" if today else None
    if asked.user_id is not None:
        found = await _rows(connection, _SQL["user_profile"], values)
        values["timeline"] = found[0][0] if found else None
        return "scan_profile" if found else None
    if asked.anonymous_id is not None:
        ((size,),) = await _rows(connection, _SQL["visitor_size"], values)
        if size < values["scan"]:
            return "scan_visitor"
    return "scan_all" if asked.type is None else "scan_type"


async def _read(
    connection: Connection, scan: str, values: Mapping[str, Any]
) -> tuple[list[Row], str | None]:
    """What matches, and the cursor of the next page if there may be one."""
    scanned = b"WITH scanned AS (\n" + _SQL[scan] + b"\n)\n"
    order = _SQL["order_all" if scan == "scan_all" else "order"]
    rows = await _rows(connection, scanned + _SQL["select"] + b"\n" + order, values)
    if len(rows) == values["wanted"]:
        rows.pop()
        return rows, _cursor(rows[-1])
    for guid, count, at in await _rows(connection, scanned + _SQL["last"], values):
        if count == values["scan"]:
            return rows, _cursor((guid, at))
    return rows, None


def _cursor(row: Row) -> str:
    """After a row that starts with its guid and ends with the time that its scan follows."""
    return cursors.encode(CURSOR, row[-1].isoformat(), row[0])


async def _rows(connection: Connection, statement: bytes, values: Mapping[str, Any]) -> list[Row]:
    return await (await connection.execute(statement, values)).fetchall()
