"""The native dialect, which is also Grouparoo's: `/api/v1/track` and `/api/v1/batch`.

track: one event, `{"apiKey", "type", "userId", "anonymousId", "occurredAt", "data"}`. The response
is `{"success": true, "event": {"guid": "evt_..."}}`. Grouparoo's web client works unchanged. It
writes `ocurredAt`, has no id of an event, and repeats the same bytes if it gets no response. So a
digest of a body with that spelling is its messageId.
batch: `{"apiKey", "events": [...]}`. The response has a result for each event in `events`. A bad
event never affects the others, so the status is 200, and `success` is true if all were accepted.
A `sentAt` beside `events` applies to each event without its own.
"""

import hashlib
from typing import Any

import msgspec

from ingest.dialects import Dialect, ParsedRequest, Results
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from schemas import plain_track
from schemas.plain_track import PlainTrack


class _PlainTrackBody(PlainTrack):
    """The usual body of `track`."""

    api_key: Any = msgspec.field(default=None, name="apiKey")


class _PlainBatchBody(msgspec.Struct):
    """The usual body of `batch`."""

    events: list[PlainTrack]
    api_key: Any = msgspec.field(default=None, name="apiKey")
    sent_at: str | None = msgspec.field(default=None, name="sentAt")

    def __post_init__(self) -> None:
        if self.sent_at:
            sent_at = plain_track.read_time(self.sent_at)
            for event in self.events:
                if event.sent_at is msgspec.UNSET:
                    event.sent_at = sent_at


_plain_track_body = plain_track.decoder(_PlainTrackBody)
_plain_batch_body = plain_track.decoder(_PlainBatchBody)


def track(request: Request) -> ParsedRequest:
    """Accept one event."""
    if plain := plain_track.decode(request.body, _plain_track_body):
        return ParsedRequest(_text(plain.api_key), [plain], _respond_one)
    fields = request.object()
    if "ocurredAt" in fields:
        fields.setdefault("messageId", hashlib.blake2b(request.body, digest_size=16).hexdigest())
    return ParsedRequest(_text(fields.get("apiKey")), [fields], _respond_one)


def batch(request: Request) -> ParsedRequest:
    """Accept a batch of events."""
    if plain := plain_track.decode(request.body, _plain_batch_body):
        return ParsedRequest(_text(plain.api_key), plain.events, _respond_all)
    fields = request.object()
    events = fields.get("events")
    if not isinstance(events, list):
        raise HttpError(
            ErrorKind.INVALID, 'events: send {"events": [...]}', {"events": "must be an array"}
        )
    if sent_at := fields.get("sentAt"):
        for event in events:
            if isinstance(event, dict):
                event.setdefault("sentAt", sent_at)
    return ParsedRequest(_text(fields.get("apiKey")), events, _respond_all)


ROUTES: Dialect = {"POST /api/v1/track": track, "POST /api/v1/batch": batch}


def _text(api_key: Any) -> str | None:
    return api_key if isinstance(api_key, str) else None


def _respond_one(results: Results) -> dict[str, Any]:
    (result,) = results
    if isinstance(result, HttpError):
        raise result
    return {"success": True, "event": {"guid": result}}


def _respond_all(results: Results) -> dict[str, Any]:
    refused = sum(isinstance(result, HttpError) for result in results)
    return {
        "success": refused == 0,
        "accepted": len(results) - refused,
        "rejected": refused,
        "events": [
            {"success": False, **result.body()}
            if isinstance(result, HttpError)
            else {"success": True, "event": {"guid": result}}
            for result in results
        ],
    }
