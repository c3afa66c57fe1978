"""The fast path of `schemas.track`: events of the usual shape, read by compiled code.

Text has the types that JSON writes for it, and a time is ISO 8601 in `occurredAt`. `Track` reads
whatever this does not, or says what is wrong with it. What both read, both read the same
(`tests/ingest/test_plain_track.py`). No limit is checked here: `schemas.validation` does that.
"""

import re
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field
from pydantic import TypeAdapter

from schemas.exact_json import Number
from schemas.moment import in_utc

_parse_time = TypeAdapter(datetime).validator.validate_python
"""As `Track` does: msgspec rounds nanoseconds, and reads fewer times."""

_ENDS_OF_UTC = ("Z", "+00:00")

_MINUS_ZERO = re.compile(rb"-0[,\]}\s]")
"""The only integer that does not stay as it is written."""


class PlainTrack(msgspec.Struct):
    """An event of the usual shape, with the attributes of `Track`."""

    type: Annotated[str, msgspec.Meta(min_length=1)]
    user_id: str | None = field(default=None, name="userId")
    anonymous_id: str | None = field(default=None, name="anonymousId")
    occurred_at: Any = field(default=None, name="occurredAt")
    """A `datetime` or None, once it is read."""
    sent_at: Any = field(default=UNSET, name="sentAt")
    """A `datetime`, None or UNSET, once it is read."""
    message_id: str | None = field(default=None, name="messageId")
    data: dict[str, Any] | None = None
    session_id: str | None = field(default=None, name="sessionId")
    ocurred_at: UnsetType = field(default=UNSET, name="ocurredAt")
    timestamp: UnsetType = UNSET

    def __post_init__(self) -> None:
        """Read the times.

        Raises:
            ValueError: `Track` must read one of them.
        """
        self.occurred_at = read_time(self.occurred_at)
        if self.sent_at is not UNSET:
            self.sent_at = read_time(self.sent_at)


def read_time(value: Any) -> datetime | None:
    """Return the time of a text, in UTC.

    Raises:
        ValueError: it is not a text with a time. `Track` may be able to read it.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - msgspec catches only this one
    moment: datetime = _parse_time(value)
    return moment if value.endswith(_ENDS_OF_UTC) else in_utc(moment)


Body = TypeVar("Body")


def decoder(body: type[Body]) -> msgspec.json.Decoder[Body]:
    """Return the argument of `decode` for a body with such events."""
    return msgspec.json.Decoder(body, float_hook=Number)


def decode(text: bytes, body: msgspec.json.Decoder[Body]) -> Body | None:
    """Return a body of JSON, or None if `exact_json` and `Track` must read it."""
    if _MINUS_ZERO.search(text):
        return None
    try:
        return body.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def convert(raw: Any) -> PlainTrack | None:
    """Return an event that `exact_json` has read, or None if `Track` must read it."""
    try:
        return msgspec.convert(raw, PlainTrack)
    except (msgspec.ValidationError, UnicodeEncodeError):  # a key with a lone surrogate
        return None
