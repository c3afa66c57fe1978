"""Pages of entries, and cursors: opaque texts that say where the next page starts."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from merganser.http.errors import ErrorKind, HttpError

LATEST = datetime.max.replace(tzinfo=UTC)
"""No event is later."""
EARLIEST = datetime.min.replace(tzinfo=UTC)
"""No event is earlier."""
AFTER_EVERY_GUID = "evt`"
"""Sorts after the guid of any event."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order of their cursors.

    Attributes:
        entries: fields by their names in JSON.
        next_cursor: where the next page starts; None after the last page.
        cursor_after: returns the cursor after this many entries, at least one.
        truncated: whether an entry lacks something, or the page ends early, because of a limit.
    """

    entries: list[dict[str, Any]]
    next_cursor: str | None
    cursor_after: Callable[[int], str]
    truncated: bool


def encode(kind: str, *parts: str) -> str:
    """Return a cursor for a kind of page: the sort key of the last entry of the page before."""
    # Escaped characters could make it longer than the parameter allows.
    text = json.dumps([kind, *parts], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, kind: str, count: int) -> list[str]:
    """Return the parts of a cursor.

    Args:
        cursor: the text from the client.
        kind: of this page.
        count: the number of parts that this kind has.

    Raises:
        HttpError: MALFORMED, it is not a cursor of this kind.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        match parts:
            case [str(cursor_kind), *rest] if cursor_kind == kind and len(rest) == count:
                return [_check_text(part) for part in rest]
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise _malformed()


def parse_time(text: str) -> datetime:
    """Return the time in a cursor.

    Raises:
        HttpError: MALFORMED.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _malformed() from None


def _check_text(part: object) -> str:
    """Return a text that Postgres can take as a parameter; raise ValueError for anything else."""
    if not isinstance(part, str) or "\0" in part:
        raise ValueError
    part.encode()
    return part


def _malformed() -> HttpError:
    text = "not a cursor of this page: leave it out to start from the first page"
    return HttpError(ErrorKind.MALFORMED, text, {"cursor": text})
