"""The format of a refused event: what ingest keeps of an event, or a request, that it refused.

Ingest records a sample. Each text is cut, so that a record has a limit whatever a client sends:
`MAX_RECORD_BYTES`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

MAX_ID = 200
"""Characters of type, ids, path and request id."""

MAX_REASON = 300
"""Characters of the reason, also of the reason of one field."""

MAX_FIELDS = 4
MAX_FIELD_NAME = 100
MAX_CONTENT = 4 << 10
"""Bytes of an event's content."""

MAX_RECORD_BYTES = 64 << 10
"""JSON takes at most six bytes for a character. So the six texts of `MAX_ID` take at most 7.2 KB,
the reason 1.8 KB, the fields 9.6 KB, and content, which is off by default, 24.6 KB."""


class RefusedEvent(msgspec.Struct, kw_only=True, rename="camel", frozen=True, omit_defaults=True):
    """An event that ingest refused; or a whole request, of which no event could be read."""

    at: datetime
    request_id: str
    path: str
    """Of the URL; `*` replaces a part that the client chooses."""
    code: str
    """The error code of the response."""
    reason: str
    """The message of the response."""
    fields: Mapping[str, str] = {}
    """Why each field is invalid, by its name."""
    producer_guid: str | None = None
    """The guid of the API key; None if the request has no valid one."""
    type: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    message_id: str | None = None
    events: int = 1
    """More than 1 if it is about a whole request; 0 if it is about one that could not be read."""
    content: str | None = None
    """The start of the event as JSON, if ingest is set to keep it."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RefusedEvent).decode


def encode(refused: RefusedEvent) -> bytes:
    """Return the value of the record."""
    return _encode(refused)


def decode(value: bytes | None) -> RefusedEvent | None:
    """Return what a record is about; None if another system or version wrote it."""
    try:
        return None if value is None else _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def cut(value: Any, length: int) -> str:
    """Return the start of a text, without lone surrogates: JSON cannot write them."""
    return str(value)[:length].encode(errors="replace").decode()
