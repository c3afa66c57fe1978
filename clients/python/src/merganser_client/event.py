"""One event, checked and encoded by the call that tracks it, so that this call raises errors."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from merganser_client import exact_json

MAX_BYTES = 64 << 10
"""The most bytes of an event: the default limit of ingest."""


class Event(NamedTuple):
    """An event as it is sent: the same bytes each time."""

    message_id: str
    json: bytes

    @property
    def type(self) -> str:
        """The type, which is the first field of the JSON."""
        event_type: str = json.JSONDecoder().raw_decode(self.json.decode(), len('{"type":'))[0]
        return event_type


def build_event(
    event_type: str,
    user_id: str | int | None,
    anonymous_id: str | int | None,
    data: Mapping[str, Any] | None,
    occurred_at: datetime | None,
    message_id: str | None,
) -> Event:
    """Check the arguments of `Client.track` and encode them as an event.

    Raises:
        TypeError: an argument has a type that cannot be sent.
        ValueError: an argument has a value that cannot be sent.
    """
    user, anonymous = _check_id("user_id", user_id), _check_id("anonymous_id", anonymous_id)
    if not user and not anonymous:
        raise ValueError("an event needs a user_id or an anonymous_id")
    message_id = _check_text("message_id", str(uuid.uuid4()) if message_id is None else message_id)
    fields: dict[str, Any] = {"type": _check_text("type", event_type)}
    if user is not None:
        fields["userId"] = user
    if anonymous is not None:
        fields["anonymousId"] = anonymous
    fields["messageId"] = message_id
    if occurred_at is None:
        fields["occurredAt"] = datetime.now(timezone.utc).isoformat()
    else:
        fields["occurredAt"] = _format_time(occurred_at)
        fields["sentAt"] = None  # overrides the batch's: the server must not correct this time
    if data is not None:
        if not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping, not {type(data).__name__}")
        fields["data"] = data
    encoded = _encode(fields, data or {})
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"the event takes {len(encoded)} bytes, {MAX_BYTES} are allowed")
    return Event(message_id, encoded)


def _check_id(name: str, value: str | int | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a string or an integer, not {type(value).__name__}")
    return f"{value:d}"


def _check_text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _format_time(value: datetime) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"occurred_at must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            "occurred_at has no time zone: use, for example, datetime.now(timezone.utc)"
        )
    return value.isoformat()


def _encode(fields: dict[str, Any], data: Mapping[str, Any]) -> bytes:
    try:
        return exact_json.dumps(fields)
    except (TypeError, ValueError):
        for key, value in data.items():
            _check_data(key, value)
        raise


def _check_data(key: Any, value: Any) -> None:
    """Raise an error that names the key, if its value cannot be encoded."""
    try:
        exact_json.dumps({key: value})
    except TypeError as error:
        raise TypeError(f"data[{key!r}]: {error}") from None
    except ValueError as error:
        raise ValueError(f"data[{key!r}]: {error}") from None
