"""Read and delete events.

A page reads a limited number of events in the order of one index, whatever the filters. It may
therefore end before it is full; its cursor points to where it stopped. `sql/events.sql` has the
parts of the statement. Parts of an event that exceed a limit are left out; `moreData` says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from merganser.http.errors import ErrorKind, HttpError
from merganser.queries import cursors, profiles
from merganser.queries.limits import MAX_ENTRY_BYTES, MAX_PAGE_BYTES
from merganser.queries.parameters import EventQuery
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "events.sql")

CURSOR = "events"

MAX_DATA_ROWS = 1000
"""Rows of data of one event: ingest accepts fewer, external systems may write any number."""

MAX_KEY_BYTES = 16 << 10
"""Of a key in an event's data: a longer one is left out."""

MAX_NAME_BYTES = 512
"""Of an ipAddress, producerGuid or profileGuid: only external systems can write a longer one."""

_FIELDS = (
    *("guid", "type", "producerGuid", "profileGuid", "ipAddress", "userId", "anonymousId"),
    *("createdAt", "occurredAt", "updatedAt", "producerKind"),
)

Row = tuple[Any, ...]


async def read_page(connection: Connection, query: EventQuery, scan: int) -> cursors.Page:
    """Return a page of events.

    Args:
        connection: in a transaction on one snapshot.
        query: filters, limit and cursor.
        scan: the most rows to read.

    Raises:
        HttpError: MALFORMED, the cursor is not one of this page.
    """
    values = _sql_values(query, scan)
    scan_name = await _choose_scan(connection, query, values)
    rows, next_cursor = await _scan(connection, scan_name, values) if scan_name else ([], None)
    events = await _add_data(connection, rows)
    complete = len(events) == len(rows)
    return cursors.Page(
        events,
        next_cursor if complete else _encode_cursor(rows[len(events) - 1]),
        cursor_after=lambda count: _encode_cursor(rows[count - 1]),
        truncated=not complete or any(event["moreData"] for event in events),
    )


async def read_event(connection: Connection, guid: str) -> dict[str, Any]:
    """Return an event with its data.

    Raises:
        HttpError: NOT_FOUND.
    """
    for event in await read_events(connection, [guid]):
        return event
    raise HttpError(ErrorKind.NOT_FOUND, "no such event: /api/v1/events lists all events")


async def read_events(connection: Connection, guids: Sequence[str]) -> list[dict[str, Any]]:
    """Return events with their data, in the order of the guids: the first that fit together."""
    rows = await _rows(
        connection, _SQL["events_by_guid"], {"guids": guids, "maxNameBytes": MAX_NAME_BYTES}
    )
    return await _add_data(connection, rows)


async def read_profile_guids(connection: Connection, guids: Sequence[str]) -> dict[str, str]:
    """Return the guids of events' profiles by those of the events, of events that have one."""
    return dict(await _rows(connection, _SQL["profile_guids"], {"guids": guids}))


async def _add_data(connection: Connection, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return events with their data: the first ones, as many as fit into a response.

    Args:
        connection: in the transaction that read the rows.
        rows: the fields of events, then whether a field was left out.
    """
    events = [
        dict(zip(_FIELDS, row, strict=False)) | {"data": {}, "moreData": row[len(_FIELDS)]}
        for row in rows
    ]
    values = {
        "guids": [row[0] for row in rows],
        "maxRows": MAX_DATA_ROWS,
        "maxTotalBytes": MAX_PAGE_BYTES,
        "maxEventBytes": MAX_ENTRY_BYTES,
        "maxKeyBytes": MAX_KEY_BYTES,
    }
    data = await _rows(connection, _SQL["event_data"], values) if rows else []
    for index, key, value, exceeds_total, more in data:
        if exceeds_total:
            return events[:index]
        events[index]["moreData"] |= more
        if key is not None and value is not None:
            events[index]["data"][key] = value
    return events


async def delete_event(connection: Connection, guid: str, *, may_read: bool) -> None:
    """Delete an event and its data.

    Identity is a function of the stored events. The event that links an anonymousId to its owner
    must stay: without it, nothing would explain why the anonymousId belongs to that user.

    Args:
        connection: in a transaction.
        guid: of the event.
        may_read: whether an error message may name the event's ids.

    Raises:
        HttpError: NOT_FOUND; CONFLICT, the event is such a link.
    """
    values = {"guid": guid}
    if not await _rows(connection, _SQL["lock_event"], values):
        raise HttpError(ErrorKind.NOT_FOUND, "no such event: it may have been deleted already")
    # A separate statement, to see what another writer committed before it released the lock.
    if links := await _rows(connection, _SQL["find_link"], values):
        ((anonymous_id, user_id),) = links
        link = f"anonymousId {anonymous_id} belongs to user {user_id}"
        raise HttpError(
            ErrorKind.CONFLICT,
            f"this event is why {link if may_read else 'its anonymousId belongs to its user'}: it "
            "must stay, delete their other events instead",
        )
    # All writers use the tables in this order, which avoids deadlocks.
    await connection.execute(_SQL["delete_event"], values)
    await connection.execute(_SQL["delete_data"], values)


def _sql_values(query: EventQuery, scan: int) -> dict[str, Any]:
    before, guid = cursors.LATEST, cursors.AFTER_EVERY_GUID
    if query.cursor is not None:
        at, guid = cursors.decode(query.cursor, CURSOR, 2)
        before = cursors.parse_time(at)
    elif query.until is not None and query.associated is not False:
        # A scan of events without a profile uses createdAt instead.
        before, guid = query.until, ""
    return {
        "scan": scan,
        "limit": query.limit + 1,
        "before": before,
        "beforeGuid": guid,
        "since": query.since or cursors.EARLIEST,
        "until": query.until,
        "timeline": query.profile_guid,
        "profileGuid": query.profile_guid,
        "userId": query.user_id,
        "anonymousId": query.anonymous_id,
        "type": query.type,
        "associated": query.associated,
        "dataKey": query.data_key,
        "dataValue": query.data_value,
        "maxNameBytes": MAX_NAME_BYTES,
    }


async def _choose_scan(
    connection: Connection, query: EventQuery, values: dict[str, Any]
) -> str | None:
    """Return the name of the scan that reads the fewest rows; None if no event can match."""
    if query.associated is False:
        return "scan_unresolved"
    if query.profile_guid is not None:
        guid = await profiles.follow_merges(connection, query.profile_guid)
        values["timeline"] = values["profileGuid"] = guid
        return "scan_profile" if guid else None
    if query.user_id is not None:
        guids = await _rows(connection, _SQL["user_profile"], values)
        values["timeline"] = guids[0][0] if guids else None
        return "scan_profile" if guids else None
    if query.anonymous_id is not None:
        ((size,),) = await _rows(connection, _SQL["count_anonymous_id"], values)
        if size < values["scan"]:
            return "scan_anonymous_id"
    return "scan_all" if query.type is None else "scan_type"


async def _scan(
    connection: Connection, scan_name: str, values: Mapping[str, Any]
) -> tuple[list[Row], str | None]:
    """Return the rows that match, and the next page's cursor if there may be a next page."""
    scanned = b"WITH scanned AS (\n" + _SQL[scan_name] + b"\n)\n"
    order = _SQL["order_all" if scan_name == "scan_all" else "order"]
    rows = await _rows(connection, scanned + _SQL["select_matching"] + b"\n" + order, values)
    if len(rows) == values["limit"]:
        rows.pop()
        return rows, _encode_cursor(rows[-1])
    for guid, count, at in await _rows(connection, scanned + _SQL["scan_end"], values):
        if count == values["scan"]:
            return rows, _encode_cursor((guid, at))
    return rows, None


def _encode_cursor(row: Row) -> str:
    """Return the cursor after a row, which begins with its guid and ends with its scan's time."""
    return cursors.encode(CURSOR, row[-1].isoformat(), row[0])


async def _rows(connection: Connection, statement: bytes, values: Mapping[str, Any]) -> list[Row]:
    return await (await connection.execute(statement, values)).fetchall()
