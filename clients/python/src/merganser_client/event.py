"""One event, made where it is tracked: what is wrong with it is said there and then."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from merganser_client import exact_json

MOST_BYTES = 64 << 10
"""Of an event; the gateway's default."""


class Event(NamedTuple):
    """An event as it goes over the wire, the same bytes each time it is sent."""

    message_id: str
    json: bytes


def make(
    kind: str,
    user_id: str | int | None,
    anonymous_id: str | int | None,
    data: Mapping[str, Any] | None,
    occurred_at: datetime | None,
    message_id: str | None,
) -> Event:
    """Check and write an event; `Client.track` says what the arguments are.

    Raises:
        TypeError: something is of a type that cannot be sent.
        ValueError: something has a value that cannot be sent.
    """
    user, anonymous = _id("user_id", user_id), _id("anonymous_id", anonymous_id)
    if not user and not anonymous:
        raise ValueError("an event needs a user_id or an anonymous_id")
    message_id = _text("message_id", str(uuid.uuid4()) if message_id is None else message_id)
    fields: dict[str, Any] = {"type": _text("type", kind)}
    if user is not None:
        fields["userId"] = user
    if anonymous is not None:
        fields["anonymousId"] = anonymous
    fields["messageId"] = message_id
    if occurred_at is None:
        fields["occurredAt"] = datetime.now(timezone.utc).isoformat()
    else:
        fields["occurredAt"] = _moment(occurred_at)
        fields["sentAt"] = None  # in place of that of the batch: there is nothing to correct
    if data is not None:
        if not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping, not {type(data).__name__}")
        fields["data"] = data
    written = _write(fields, data or {})
    if len(written) > MOST_BYTES:
        raise ValueError(f"the event takes {len(written)} bytes, {MOST_BYTES} are allowed")
    return Event(message_id, written)


def _id(name: str, value: str | int | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a string or an integer, not {type(value).__name__}")
    return f"{value:d}"


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _moment(value: datetime) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"occurred_at must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError("occurred_at has no time zone: datetime.now(timezone.utc) has one")
    return value.isoformat()


def _write(fields: dict[str, Any], data: Mapping[str, Any]) -> bytes:
    try:
        return exact_json.dumps(fields)
    except (TypeError, ValueError):
        for key, value in data.items():
            _check(key, value)
        raise


def _check(key: Any, value: Any) -> None:
    """Say which of the data is wrong."""
    try:
        exact_json.dumps({key: value})
    except TypeError as error:
        raise TypeError(f"data[{key!r}]: {error}") from None
    except ValueError as error:
        raise ValueError(f"data[{key!r}]: {error}") from None
