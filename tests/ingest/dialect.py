"""Read requests in a dialect without a network, and validate their events as ingest does."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ingest.dialects import ParsedRequest
from ingest.request import Request
from ingest.validate import validate
from merganser.http.errors import HttpError
from schemas.event import Event, decode
from schemas.ids import NOBODY
from schemas.validation import EventLimits, ServerFields

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When each request arrives."""

LIMITS = EventLimits(
    id_characters=191, data_keys=256, depth=32, event_bytes=64 << 10, nobody=NOBODY
)


def make_request(
    body: Any,
    *parts: str,
    headers: Mapping[bytes, bytes] | None = None,
    query: bytes = b"",
) -> Request:
    """Return a request with a JSON body."""
    return Request(json.dumps(body).encode(), parts, headers or {}, query)


def to_results(parsed: ParsedRequest) -> list[Event | HttpError]:
    """Return each event as it is stored, or its refusal."""
    return [_to_result(raw, f"evt_{n}") for n, raw in enumerate(parsed.events)]


def to_events(parsed: ParsedRequest) -> list[Event]:
    """Return each event as it is stored, and check that none is refused."""
    stored = []
    for result in to_results(parsed):
        assert not isinstance(result, HttpError), result.message
        stored.append(result)
    return stored


def to_response(parsed: ParsedRequest) -> dict[str, Any]:
    """Return the body of the response; raise the refusal if no event is valid."""
    answer = parsed.respond(
        [
            result if isinstance(result, HttpError) else result["guid"]
            for result in to_results(parsed)
        ]
    )
    assert isinstance(answer, dict)
    return answer


def _to_result(raw: Any, guid: str) -> Event | HttpError:
    if isinstance(raw, HttpError):
        return raw
    try:
        return decode(
            validate(raw, LIMITS, ServerFields(lambda: guid, 7, "key_1", "192.0.2.1", NOW)).value
        )
    except HttpError as refused:
        return refused
