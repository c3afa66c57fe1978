"""Event types: list them, search them, and count their events."""

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from api.responses import take_fitting
from merganser.http.errors import ErrorKind, HttpError
from merganser.queries import cursors, events
from merganser.queries.parameters import Bucket, CountQuery, PageQuery, TypeSearch
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "types.sql")

CURSOR = "types"

MAX_COUNTED_EVENTS = 1000
"""Events of one type; a list of types counts no further."""

MAX_SEARCHED_TYPES = 10_000
"""Types that a search reads."""

MAX_SEARCH_RESULTS = 25
"""Types that a search returns."""

MAX_BUCKETS = 1000
MAX_COUNTED_TYPES = 50
"""Types of a response with counts."""

_MIN_LENGTH = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
}
"""The length of the shortest bucket of each kind."""

_DEFAULT_BUCKETS = 30
"""The buckets of a response if the query has no `from`."""


async def read_page(connection: Connection, query: PageQuery) -> tuple[dict[str, Any], bool]:
    """Return a page of types as JSON has it, and whether it is truncated.

    Raises:
        HttpError: MALFORMED, the cursor is not one of this page.
    """
    (after,) = cursors.decode(query.cursor, CURSOR, 1) if query.cursor is not None else (None,)
    values = {"after": after, "limit": query.limit + 1, "maxCount": MAX_COUNTED_EVENTS}
    rows = await (await connection.execute(_SQL["types"], values)).fetchall()
    examples = await events.read_events(connection, [row[3] for row in rows[: query.limit]])
    types = [
        {
            "type": name,
            "firstOccurredAt": since,
            "lastOccurredAt": last,
            "count": min(count, MAX_COUNTED_EVENTS),
            "moreThanCount": count > MAX_COUNTED_EVENTS,
            "example": example,
        }
        for (name, since, last, _, count), example in zip(rows, examples, strict=False)
    ]
    fitting = take_fitting(types).entries
    next_cursor = None
    if len(rows) > len(fitting):
        next_cursor = cursors.encode(CURSOR, types[len(fitting) - 1]["type"])
    truncated = len(fitting) < min(len(rows), query.limit) or any(
        event["moreData"] for event in examples
    )
    return {"types": fitting, "nextCursor": next_cursor}, truncated


async def search_types(connection: Connection, query: TypeSearch) -> dict[str, Any]:
    """Return the types that contain a text, as JSON has them."""
    values = {"match": query.match, "limit": MAX_SEARCH_RESULTS + 1, "maxTypes": MAX_SEARCHED_TYPES}
    rows = await (await connection.execute(_SQL["matching_types"], values)).fetchall()
    names = [name for name, matches, _ in rows if matches]
    more = len(names) > MAX_SEARCH_RESULTS or any(last for *_, last in rows)
    return {"types": names[:MAX_SEARCH_RESULTS], "more": more}


async def count_events(connection: Connection, query: CountQuery, now: datetime) -> dict[str, Any]:
    """Return the number of events by type and bucket, as JSON has it.

    Raises:
        HttpError: INVALID, the range has more than `MAX_BUCKETS` buckets.
    """
    since, until = time_range(query, now)
    values = {
        "since": since,
        "until": until,
        "bucket": query.bucket,
        "type": query.type,
        "maxTypes": MAX_COUNTED_TYPES,
    }
    rows = await (await connection.execute(_SQL["counts"], values)).fetchall()
    types = []
    for name, of_type in groupby(rows, lambda row: row[0]):
        buckets = [{"at": at, "count": count} for _, at, count in of_type]
        total = sum(bucket["count"] for bucket in buckets)
        types.append({"type": name, "count": total, "buckets": buckets})
    more = False
    if query.type is None:
        ((more,),) = await (await connection.execute(_SQL["has_more_types"], values)).fetchall()
    return {
        "from": since,
        "to": until,
        "bucket": query.bucket,
        "types": types,
        "moreTypes": more,
    }


def time_range(query: CountQuery, now: datetime) -> tuple[datetime, datetime]:
    """Return the start and end of the range to count: by default 30 buckets and the current one.

    The range includes all of the current bucket, so that repeated queries get the same response.

    Raises:
        HttpError: INVALID, the range has more than `MAX_BUCKETS` buckets.
    """
    length = _MIN_LENGTH[query.bucket]
    until = query.until or max(_end_of(query.bucket, now), query.since or now)
    since = query.since
    if since is None:
        end, default = query.until or now, _DEFAULT_BUCKETS * length
        since = (
            _start_of(query.bucket, end - default)
            if end - cursors.EARLIEST > default
            else cursors.EARLIEST
        )
    if (until - since) / length > MAX_BUCKETS:
        text = f"more than {MAX_BUCKETS} buckets: narrow the range, or count by longer ones"
        raise HttpError(ErrorKind.INVALID, text, {"bucket": text})
    return since, until


def _end_of(bucket: Bucket, at: datetime) -> datetime:
    # 31 days after its start is the next month; the same factor works for other buckets.
    return _start_of(bucket, _start_of(bucket, at) + _MIN_LENGTH[bucket] * 31 / 28)


def _start_of(bucket: Bucket, at: datetime) -> datetime:
    day = datetime(at.year, at.month, at.day, tzinfo=UTC)
    match bucket:
        case "minute":
            return at.replace(second=0, microsecond=0)
        case "hour":
            return at.replace(minute=0, second=0, microsecond=0)
        case "day":
            return day
        case "week":
            return day - timedelta(days=min(day.weekday(), (day - cursors.EARLIEST).days))
        case "month":
            return day.replace(day=1)
