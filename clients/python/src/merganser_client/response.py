"""What the server's response means for the events of a batch: pure functions."""

import json
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from merganser_client.backoff import parse_retry_after

_BUSY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_INVALID = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    retry_after: str | None
    body: bytes


class Settled(NamedTuple):
    """The server decided on each event: it stored the events that it did not refuse."""

    refused: dict[int, str]
    """Reasons by index in the batch."""


class Retry(NamedTuple):
    """The server stored nothing, as far as the client can know: send the batch again."""

    reason: str
    after: float = 0.0
    """Seconds that the server asked to wait."""
    misconfigured: bool = False
    """Retries fail until a person changes the configuration."""


class Split(NamedTuple):
    """The server refused the whole batch: send smaller batches until the invalid event is alone."""

    reason: str


Outcome = Settled | Retry | Split


def classify_response(response: Response, count: int, now: datetime) -> Outcome:
    """Decide what to do with a batch.

    Args:
        response: the response of the ingest server, or of a proxy in front of it.
        count: number of events in the batch.
        now: what a date in Retry-After is compared with, in UTC.
    """
    status = response.status
    if status == HTTPStatus.OK:
        refused = _find_refused(response.body, count)
        if refused is None:
            # Captive portals and other servers also respond with 200.
            return Retry(
                "status 200 without a result for each event: not a Merganser server",
                misconfigured=True,
            )
        return Settled(refused)
    content = _parse_object(response.body)
    reason = f"status {status}"
    if "message" in content:
        reason += f": {content['message']}"
    # 413 may come from any proxy. Other refusals count only if they come from ingest, which sends a
    # code: a server that expects TLS, for example, responds with 400 to each request without TLS.
    invalid = status in _INVALID and "code" in content
    if invalid or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Split(reason)
    busy = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY
    return Retry(reason, parse_retry_after(response.retry_after, now), misconfigured=not busy)


def _find_refused(body: bytes, count: int) -> dict[int, str] | None:
    """Return the reasons of refused events by index; None if an event has no result."""
    results = _parse_object(body).get("events")
    if not isinstance(results, list) or len(results) != count:
        return None
    refused = {}
    for index, result in enumerate(results):
        if not isinstance(result, dict) or not isinstance(result.get("success"), bool):
            return None
        if not result["success"]:
            refused[index] = str(result.get("message"))
    return refused


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
