"""From what a client said of an event to the record for the topic: pure (design §4, §6)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from merganser.http.errors import ErrorKind, HttpError
from schemas import event as wire
from schemas import guid
from schemas.event import Event
from schemas.exact_json import Unfit, as_text
from schemas.guid import GuidVersion
from schemas.ids import somebody
from schemas.track import Track

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

MOST_CORRECTED = timedelta(days=30)
"""Of a client's clock: one that is more wrong says nothing of when the event occurred."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an event may be, and which ids mean nobody."""

    id_characters: int
    data_keys: int
    depth: int
    event_bytes: int
    nobody: frozenset[str]


class Stamp(NamedTuple):
    """What the server adds."""

    guid: str
    """For an event without messageId."""
    guid_version: GuidVersion
    producer: str
    ip_address: str | None
    now: datetime


class Accepted(NamedTuple):
    """An event ready for the topic."""

    guid: str
    key: bytes
    value: bytes
    sent_at_ignored: bool = False
    """The client's clock is so wrong that its `sentAt` corrects nothing."""


def accept(raw: Any, limits: Limits, stamp: Stamp) -> Accepted:
    """Validate one event and make its record.

    Args:
        raw: what `schemas.exact_json.loads` gave for it.
        limits: the gateway's.
        stamp: the server's part.

    Raises:
        HttpError: INVALID names each field and why; TOO_LARGE when the record would be.
    """
    try:
        track = Track.model_validate(raw)
    except ValidationError as error:
        raise _invalid(dict(_problem(details) for details in error.errors())) from None
    occurred_at, ignored = _occurred(track, stamp.now)
    event: Event = {
        "guid": _guid(track, stamp),
        "producerGuid": stamp.producer,
        "ipAddress": stamp.ip_address,
        "createdAt": stamp.now,
        "occurredAt": occurred_at,
        "type": track.type,
        "userId": somebody(track.user_id, limits.nobody),
        "anonymousId": somebody(track.anonymous_id, limits.nobody),
        "data": _data(track, limits),
    }
    _check(event, limits)
    try:
        value = wire.encode(event)
    except wire.Unreadable as error:
        raise _invalid({error.field: error.reason}) from None
    if len(value) > limits.event_bytes:
        raise HttpError(
            ErrorKind.TOO_LARGE,
            f"the event takes {len(value)} bytes, {limits.event_bytes} are allowed",
        )
    return Accepted(event["guid"], wire.partition_key(event), value, ignored)


def _guid(track: Track, stamp: Stamp) -> str:
    """An event with a messageId has the same guid each time it comes, and one row in the end.

    A client that tries again sends the same occurredAt, so the guid may have its time.
    """
    if not track.message_id:
        return stamp.guid
    at = track.occurred_at
    at_ms = None if at is None else (at - _EPOCH) // _MILLISECOND
    return guid.repeatable(stamp.guid_version, guid.EVENT, at_ms, stamp.producer, track.message_id)


def _occurred(track: Track, now: datetime) -> tuple[datetime, bool]:
    """When it occurred by the server's clock, and whether `sentAt` was too wrong to tell.

    A client says by `sentAt` what its own clock says now. Segment's rule:
    https://segment.com/docs/connections/spec/common/#timestamp-overview
    """
    if track.occurred_at is None:
        return now, False
    if track.sent_at is None:
        return track.occurred_at, False
    late = now - track.sent_at
    if abs(late) > MOST_CORRECTED:
        return track.occurred_at, True
    try:
        return track.occurred_at + late, False
    except OverflowError:
        return track.occurred_at, True


def _problem(details: ErrorDetails) -> tuple[str, str]:
    if not details["loc"]:
        return "event", "must be a JSON object"
    said = details["msg"].removeprefix("Value error, ")
    return ".".join(str(part) for part in details["loc"]), said


def _data(track: Track, limits: Limits) -> dict[str, str]:
    if len(track.data) > limits.data_keys:
        raise _invalid({"data": f"has {len(track.data)} keys, {limits.data_keys} are allowed"})
    data: dict[str, str] = {}
    for key, value in track.data.items():
        if value is not None:
            try:
                data[key] = as_text(value, limits.depth)
            except Unfit as error:
                raise _invalid({f"data.{key}": str(error)}) from None
    if track.session_id is not None:
        data.setdefault("sessionId", track.session_id)
    return data


def _check(event: Event, limits: Limits) -> None:
    if event["userId"] is None and event["anonymousId"] is None:
        why = "one of userId and anonymousId is required, and must name somebody"
        raise HttpError(ErrorKind.INVALID, why, {"userId": why, "anonymousId": why})
    for field in ("type", "userId", "anonymousId"):
        length = len(event[field] or "")
        if length > limits.id_characters:
            raise _invalid({field: f"has {length} characters, {limits.id_characters} are allowed"})


def _invalid(faults: dict[str, str]) -> HttpError:
    # A field may bear a key of the client's, with a lone surrogate that no answer can say.
    fields = {field.encode(errors="replace").decode(): why for field, why in faults.items()}
    message = "; ".join(f"{field}: {why}" for field, why in fields.items())
    return HttpError(ErrorKind.INVALID, message, fields)
