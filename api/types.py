"""Event types: which there are, and how many events of each."""

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from api import cursors, events
from api.parameters import Bucket, Counts, Match, Page
from api.responses import first
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import sql
from merganser.runtime.postgres import Connection

_SQL = sql.load(__package__, "types.sql")

CURSOR = "types"

MOST_COUNTED = 1000
"""Events of a type that a list of types counts."""

MOST_LOOKED_AT = 10_000
"""Types that a search looks at."""

MOST_FOUND = 25
"""Types that a search gives."""

MOST_BUCKETS = 1000
MOST_TYPES = 50
"""Of an answer with counts."""

_LENGTH = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
}
"""Of the shortest one."""

_USUAL_BUCKETS = 30
"""Of an answer to a question that says no time."""


async def page(connection: Connection, asked: Page) -> tuple[dict[str, Any], bool]:
    """A page of types as JSON has it, and whether it is cut.

    Raises:
        HttpError: MALFORMED, the cursor is none.
    """
    (after,) = cursors.decode(asked.cursor, CURSOR, 1) if asked.cursor is not None else (None,)
    values = {"after": after, "wanted": asked.limit + 1, "most": MOST_COUNTED}
    rows = await (await connection.execute(_SQL["types"], values)).fetchall()
    examples = await events.some(connection, [row[3] for row in rows[: asked.limit]])
    types = [
        {
            "type": name,
            "firstOccurredAt": since,
            "lastOccurredAt": last,
            "count": min(count, MOST_COUNTED),
            "moreThanCount": count > MOST_COUNTED,
            "example": example,
        }
        for (name, since, last, _, count), example in zip(rows, examples, strict=False)
    ]
    shown = first(types).entries
    onward = None
    if len(rows) > len(shown):
        onward = cursors.encode(CURSOR, types[len(shown) - 1]["type"])
    cut = len(shown) < min(len(rows), asked.limit) or any(one["moreData"] for one in examples)
    return {"types": shown, "nextCursor": onward}, cut


async def search(connection: Connection, asked: Match) -> dict[str, Any]:
    """The types that contain a text, as JSON has them."""
    values = {"match": asked.match, "wanted": MOST_FOUND + 1, "most": MOST_LOOKED_AT}
    rows = await (await connection.execute(_SQL["matching_types"], values)).fetchall()
    found = [name for name, matches, _ in rows if matches]
    more = len(found) > MOST_FOUND or any(last for *_, last in rows)
    return {"types": found[:MOST_FOUND], "more": more}


async def counts(connection: Connection, asked: Counts, now: datetime) -> dict[str, Any]:
    """Events by type and bucket, as JSON has them.

    Raises:
        HttpError: INVALID, more buckets than an answer has.
    """
    since, until = span(asked, now)
    values = {
        "since": since,
        "until": until,
        "bucket": asked.bucket,
        "type": asked.type,
        "mostTypes": MOST_TYPES,
    }
    rows = await (await connection.execute(_SQL["counts"], values)).fetchall()
    types = []
    for name, of_type in groupby(rows, lambda row: row[0]):
        buckets = [{"at": at, "count": count} for _, at, count in of_type]
        total = sum(bucket["count"] for bucket in buckets)
        types.append({"type": name, "count": total, "buckets": buckets})
    more = False
    if asked.type is None:
        ((more,),) = await (await connection.execute(_SQL["has_more_types"], values)).fetchall()
    return {
        "from": since,
        "to": until,
        "bucket": asked.bucket,
        "types": types,
        "moreTypes": more,
    }


def span(asked: Counts, now: datetime) -> tuple[datetime, datetime]:
    """From when to when to count: the last 30 buckets and the current one, unless asked otherwise.

    All of the current one, so that the same question has the same answer for a while.

    Raises:
        HttpError: INVALID, more buckets than an answer has.
    """
    length = _LENGTH[asked.bucket]
    until = asked.until or max(_end_of(asked.bucket, now), asked.since or now)
    since = asked.since
    if since is None:
        end, usual = asked.until or now, _USUAL_BUCKETS * length
        since = (
            _start_of(asked.bucket, end - usual) if end - cursors.FIRST > usual else cursors.FIRST
        )
    if (until - since) / length > MOST_BUCKETS:
        text = f"more than {MOST_BUCKETS} buckets: narrow the range, or count by longer ones"
        raise HttpError(ErrorKind.INVALID, text, {"bucket": text})
    return since, until


def _end_of(bucket: Bucket, at: datetime) -> datetime:
    # From the start of a month, 31 days lead into the next one, and as much more into any other.
    return _start_of(bucket, _start_of(bucket, at) + _LENGTH[bucket] * 31 / 28)


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
            return day - timedelta(days=min(day.weekday(), (day - cursors.FIRST).days))
        case "month":
            return day.replace(day=1)
