"""What the gateway's answer means for the events of a batch: pure."""

import json
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from merganser_client.delays import retry_after

_BUSY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_NOT_SO = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}


class Answer(NamedTuple):
    """What came over HTTP."""

    status: int
    retry_after: str | None
    body: bytes


class Taken(NamedTuple):
    """The gateway has judged each event; those it did not refuse are stored for good."""

    refused: dict[int, str]
    """Which of the batch it refused, and why."""


class Again(NamedTuple):
    """Nothing is known to have arrived: send it again."""

    why: str
    after: float = 0.0
    """Seconds that the server asked to wait."""
    misconfigured: bool = False
    """It will not help until somebody changes something."""


class Smaller(NamedTuple):
    """The batch as a whole is refused: send it in smaller ones, down to the event at fault."""

    why: str


Verdict = Taken | Again | Smaller


def judge(answer: Answer, count: int, now: datetime) -> Verdict:
    """Decide what to do with a batch.

    Args:
        answer: the gateway's, or that of something in its place.
        count: events of the batch.
        now: for a Retry-After that is a date.
    """
    status = answer.status
    if status == HTTPStatus.OK:
        refused = _refused(answer.body, count)
        if refused is None:
            # A portal or a wrong path: "200" is no promise without a result for each event.
            return Again("answered 200, but not as a Merganser gateway does", misconfigured=True)
        return Taken(refused)
    said = _object(answer.body)
    why = f"answered {status}: {said['message']}" if "message" in said else f"answered {status}"
    # A proxy may find any request too large. But only the gateway can find fault with an event:
    # something else would with all of them (a server of TLS, say, that is spoken to without).
    at_fault = status in _NOT_SO and "code" in said
    if at_fault or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Smaller(why)
    busy = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY
    return Again(why, retry_after(answer.retry_after, now), misconfigured=not busy)


def _refused(body: bytes, count: int) -> dict[int, str] | None:
    """Why which events were refused; None if the body has not a result for each."""
    said = _object(body)
    results = said.get("events")
    if not isinstance(results, list) or len(results) != count:
        return None
    refused = {}
    for index, result in enumerate(results):
        if not isinstance(result, dict) or not isinstance(result.get("success"), bool):
            return None
        if not result["success"]:
            refused[index] = str(result.get("message"))
    return refused


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
