"""Cursors: where the next page starts, as text that clients hand back and need not understand."""

import base64
import binascii
import json
from datetime import UTC, datetime

from merganser.http.errors import ErrorKind, HttpError

LAST = datetime.max.replace(tzinfo=UTC)
"""No event is later."""
FIRST = datetime.min.replace(tzinfo=UTC)
"""No event is earlier."""
ABOVE = "evt`"
"""Above every guid of an event."""


def encode(kind: str, *parts: str) -> str:
    """A cursor of one kind of page: the sort key of the last thing that was passed."""
    # Escapes would make it longer than the parameter may be.
    text = json.dumps([kind, *parts], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, kind: str, count: int) -> list[str]:
    """The parts of a cursor.

    Args:
        cursor: as a client sent it.
        kind: of this page; a cursor of another kind is refused.
        count: how many parts this kind has.

    Raises:
        HttpError: MALFORMED.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        match parts:
            case [str(found), *rest] if found == kind and len(rest) == count:
                return [_storable(part) for part in rest]
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise _malformed()


def at(text: str) -> datetime:
    """The time in a cursor.

    Raises:
        HttpError: MALFORMED.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _malformed() from None


def _storable(part: object) -> str:
    """A text that Postgres takes: others were not ours."""
    if not isinstance(part, str) or "\0" in part:
        raise ValueError
    part.encode()
    return part


def _malformed() -> HttpError:
    text = "this is no cursor of this page: leave it out to start from the first page"
    return HttpError(ErrorKind.MALFORMED, text, {"cursor": text})
