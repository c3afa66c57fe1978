"""Our own dialect, which is the seed's: `/api/v1/track` and `/api/v1/batch` (design §7).

track: one event, `{"apiKey", "type", "userId", "anonymousId", "occurredAt", "data"}`; answered
`{"success": true, "event": {"guid": "evt_..."}}`. The seed's web client works unchanged.
batch: `{"apiKey", "events": [...]}`; answered with a result for each event in `events`. One bad
event never costs its neighbours, so the answer is 200 and `success` says whether all were taken.
"""

from collections.abc import Sequence
from typing import Any

from ingest.dialects import Dialect, Said
from runtime.refusals import Problem, Refused


def track(body: Any) -> Said:
    """One event."""
    fields = _object(body)
    return Said(_api_key(fields), [fields], _answer_one)


def batch(body: Any) -> Said:
    """Many events."""
    fields = _object(body)
    events = fields.get("events")
    if not isinstance(events, list):
        raise Refused(
            Problem.INVALID, 'events: send {"events": [...]}', {"events": "must be an array"}
        )
    return Said(_api_key(fields), events, _answer_all)


PATHS: Dialect = {"/api/v1/track": track, "/api/v1/batch": batch}


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(Problem.MALFORMED, "the body must be a JSON object")
    return body


def _api_key(fields: dict[str, Any]) -> str | None:
    key = fields.get("apiKey")
    return key if isinstance(key, str) else None


def _answer_one(results: Sequence[str | Refused]) -> dict[str, Any]:
    (result,) = results
    if isinstance(result, Refused):
        raise result
    return {"success": True, "event": {"guid": result}}


def _answer_all(results: Sequence[str | Refused]) -> dict[str, Any]:
    refused = sum(isinstance(result, Refused) for result in results)
    return {
        "success": refused == 0,
        "accepted": len(results) - refused,
        "rejected": refused,
        "events": [
            {"success": False, **result.body()}
            if isinstance(result, Refused)
            else {"success": True, "event": {"guid": result}}
            for result in results
        ],
    }
