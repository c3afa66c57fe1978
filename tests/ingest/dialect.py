"""What comes of a request in a dialect, without a network: events as the topic would have them."""

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
"""When each request came."""

LIMITS = EventLimits(
    id_characters=191, data_keys=256, depth=32, event_bytes=64 << 10, nobody=NOBODY
)


def make_request(
    body: Any,
    *parts: str,
    headers: Mapping[bytes, bytes] | None = None,
    query: bytes = b"",
) -> Request:
    """A request with a JSON body."""
    return Request(json.dumps(body).encode(), parts, headers or {}, query)


def results(said: ParsedRequest) -> list[Event | HttpError]:
    """Each event as it would be stored, or why it is refused."""
    return [_result(raw, f"evt_{n}") for n, raw in enumerate(said.events)]


def events(said: ParsedRequest) -> list[Event]:
    """Each event as it would be stored: none may be refused."""
    stored = []
    for result in results(said):
        assert not isinstance(result, HttpError), result.message
        stored.append(result)
    return stored


def response_to(said: ParsedRequest) -> dict[str, Any]:
    """What the client gets, if none of the refusals is raised."""
    answer = said.respond(
        [result if isinstance(result, HttpError) else result["guid"] for result in results(said)]
    )
    assert isinstance(answer, dict)
    return answer


def _result(raw: Any, guid: str) -> Event | HttpError:
    if isinstance(raw, HttpError):
        return raw
    try:
        return decode(validate(raw, LIMITS, ServerFields(guid, 7, "key_1", "192.0.2.1", NOW)).value)
    except HttpError as refused:
        return refused
