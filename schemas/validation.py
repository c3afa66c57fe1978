"""From an event as a client sent it to an event for the topic. Pure: no I/O, and time comes in.

Ingest validates each event of a request by itself, so an invalid event does not affect the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas import client_ip, guid, plain_track
from schemas.client_ip import IpPolicy
from schemas.event import Event, InvalidEvent, encode, partition_key
from schemas.exact_json import UnstorableValue, as_text
from schemas.guid import GuidVersion
from schemas.ids import somebody
from schemas.plain_track import PlainTrack
from schemas.track import Track

MAX_CLOCK_CORRECTION = timedelta(days=30)
"""A client's clock that is further off says nothing about when the event occurred."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class EventLimits:
    """How large an event may be, and what of it is not stored."""

    id_characters: int
    """Of type, userId and anonymousId."""
    data_keys: int
    depth: int
    """Levels of nesting in data; a scalar is level 0."""
    event_bytes: int
    """Of the record's value."""
    nobody: frozenset[str]
    """Ids that mean nobody (`schemas.ids`)."""
    client_ip: IpPolicy = "keep"
    """What is stored of the client's address."""


class ServerFields(NamedTuple):
    """What the server adds to an event."""

    new_guid: Callable[[], str]
    """Returns the guid of an event without a messageId."""
    guid_version: GuidVersion
    producer_guid: str
    """The guid of the API key."""
    ip_address: str | None
    now: datetime


class ValidEvent(NamedTuple):
    """An event ready for the topic."""

    guid: str
    key: bytes
    """Of its record."""
    value: bytes
    """Of its record."""
    sent_at_ignored: bool = False
    """The client's clock is too far off for `sentAt` to correct it."""


class EventTooLarge(ValueError):
    """The record of an event would exceed `EventLimits.event_bytes`."""


def validate_event(raw: Any, limits: EventLimits, server_fields: ServerFields) -> ValidEvent:
    """Validate one event and encode its record.

    Args:
        raw: any JSON value, as `schemas.exact_json.loads` returns it, or a `PlainTrack`.
        limits: of this deployment.
        server_fields: what the server adds.

    Raises:
        InvalidEvent: names each invalid field and why.
        EventTooLarge: the record is too large.
    """
    track = raw if isinstance(raw, PlainTrack) else plain_track.convert(raw) or _read_track(raw)
    occurred_at, sent_at_ignored = _correct_time(track, server_fields.now)
    event: Event = {
        "guid": _event_guid(track, server_fields),
        "producerGuid": server_fields.producer_guid,
        "ipAddress": client_ip.apply_to_address(limits.client_ip, server_fields.ip_address),
        "createdAt": server_fields.now,
        "occurredAt": occurred_at,
        "type": track.type,
        "userId": somebody(track.user_id, limits.nobody),
        "anonymousId": somebody(track.anonymous_id, limits.nobody),
        "data": _event_data(track, limits),
    }
    _check_ids(event, limits)
    value = encode(event)
    if len(value) > limits.event_bytes:
        raise EventTooLarge(f"the event takes {len(value)} bytes, {limits.event_bytes} are allowed")
    return ValidEvent(event["guid"], partition_key(event), value, sent_at_ignored)


def _read_track(raw: Any) -> Track:
    try:
        return Track.model_validate(raw)
    except ValidationError as error:
        raise InvalidEvent(dict(_field_error(details) for details in error.errors())) from None


def _event_guid(track: Track | PlainTrack, server_fields: ServerFields) -> str:
    """Return the same guid whenever the same messageId arrives, so that a retry is the same row.

    A retry has the same occurredAt as the first attempt, so the guid can contain its time.
    """
    if not track.message_id:
        return server_fields.new_guid()
    at = track.occurred_at
    at_ms = None if at is None else (at - _EPOCH) // _MILLISECOND
    return guid.repeatable(
        server_fields.guid_version, guid.EVENT, at_ms, server_fields.producer_guid, track.message_id
    )


def _correct_time(track: Track | PlainTrack, now: datetime) -> tuple[datetime, bool]:
    """Return when the event occurred by the server's clock, and whether `sentAt` was ignored.

    `sentAt` is the client's clock when it sent the request, so the difference to `now` is its
    error. Segment's rule: https://segment.com/docs/connections/spec/common/#timestamp-overview
    """
    if track.occurred_at is None:
        return now, False
    if not track.sent_at:
        return track.occurred_at, False
    correction = now - track.sent_at
    if abs(correction) > MAX_CLOCK_CORRECTION:
        return track.occurred_at, True
    try:
        return track.occurred_at + correction, False
    except OverflowError:
        return track.occurred_at, True


def _field_error(details: ErrorDetails) -> tuple[str, str]:
    """Return the field's path and the reason of one of pydantic's errors."""
    if not details["loc"]:
        return "event", "must be a JSON object"
    reason = details["msg"].removeprefix("Value error, ")
    return ".".join(str(part) for part in details["loc"]), reason


def _event_data(track: Track | PlainTrack, limits: EventLimits) -> dict[str, str]:
    sent = track.data or {}
    if len(sent) > limits.data_keys:
        raise InvalidEvent({"data": f"has {len(sent)} keys, {limits.data_keys} are allowed"})
    data: dict[str, str] = {}
    for key, value in client_ip.apply_to_data(limits.client_ip, sent).items():
        try:
            if value is not None:
                data[key] = as_text(value, limits.depth)
        except UnstorableValue as error:
            raise InvalidEvent({f"data.{key}": str(error)}) from None
    if track.session_id is not None:
        data.setdefault("sessionId", track.session_id)
    return data


def _check_ids(event: Event, limits: EventLimits) -> None:
    if event["userId"] is None and event["anonymousId"] is None:
        reason = "one of userId and anonymousId is required, and must name somebody"
        raise InvalidEvent({"userId": reason, "anonymousId": reason}, reason)
    for field in ("type", "userId", "anonymousId"):
        text = event[field]
        if text and (length := len(text)) > limits.id_characters:
            raise InvalidEvent(
                {field: f"has {length} characters, {limits.id_characters} are allowed"}
            )
