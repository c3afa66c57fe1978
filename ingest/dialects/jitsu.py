"""Jitsu's two APIs: that of `@jitsu/js`, which is Segment's under other paths, and the older one.

**`/api/s/*`**, and `/api/s/s2s/*` from servers: one event of Segment's shape, mapped as in
`segment.py`; the path names its kind. The key is in the header `X-Write-Key`, after the colon:
`@jitsu/js` requires `id:secret` and sends the id in every body. The id can be any text. A header
without a colon is the whole key. `writeKey` in the body is masked and not used.

**`/api/v1/event`**, and `/api/v1/s2s/event` from servers: the requests of `@jitsu/sdk-js`.

| Merganser | sdk-js |
|---|---|
| type | `event_type`; of `id()` it is `user_identify` |
| userId, anonymousId | `user.id`, `user.anonymous_id`: an event with both links the two |
| occurredAt | `utc_time`, by the client's clock; there is no time of sending to correct it |
| messageId | `event_id`; clients leave it empty, then a digest of the event, see below |
| data | all other fields, nested objects as dotted keys: `user.email`, `utm.source` |

An event without `event_id` is recognized by its content, which has its time in milliseconds, and by
the number of equal events before it in the request. A client that retries sends the same. The key
is `token` of the URL, or `p_*` with `randomize_url`, or `api_key` of the first event. It never
becomes data. In `compat_mode` the context is in `eventn_ctx`.

There are no group and alias calls. Ignored: `cookie_policy` and `ip_policy`. A client without
cookies sends no anonymous id and gets none. Source: the packages themselves.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Any

from ingest.dialects import Dialect, ParsedRequest, RequestParser, Results, segment
from ingest.dialects.common import (
    MAX_DATA_KEYS,
    batch_response,
    flatten,
    invalid_field,
    object_field,
    parse_each,
)
from ingest.request import Request
from schemas import exact_json

_Event = dict[str, Any]

_NOT_DATA = ("event_type", "event_id", "utc_time", "user", "api_key", "eventn_ctx")


def call(kind: str) -> RequestParser:
    """Return the parser of requests of `@jitsu/js` with one event of this kind."""
    read = segment.call(kind)

    def reader(request: Request) -> ParsedRequest:
        """Accept one event of the kind that the path names."""
        first, _, secret = request.headers.get(b"x-write-key", b"").decode("latin-1").partition(":")
        return replace(read(request), api_key=secret or first, respond=_respond)

    return reader


def event(request: Request) -> ParsedRequest:
    """Accept what `@jitsu/sdk-js` sends: one event or an array of events."""
    body = request.json()
    events = body if isinstance(body, list) else [body]
    seen: Counter[str] = Counter()

    def read(raw: _Event) -> _Event:
        fields = {**object_field(raw, "eventn_ctx"), **raw}
        user = object_field(fields, "user")
        return {
            "type": fields.get("event_type"),
            "userId": user.get("id"),
            "anonymousId": user.get("anonymous_id"),
            "occurredAt": fields.get("utc_time"),
            "messageId": fields.get("event_id") or _digest(raw, seen),
            "data": _data(fields, user),
        }

    return ParsedRequest(_key(request, events), parse_each(events, read), _respond)


ROUTES: Dialect = {
    **{
        f"POST /api/s/{side}{kind}": call(kind)
        for side in ("", "s2s/")
        for kind in ("page", "identify", "track", "group", "screen", "alias")
    },
    **dict.fromkeys(("POST /api/v1/event", "POST /api/v1/s2s/event", "POST /api.*"), event),
}


def _key(request: Request, events: list[Any]) -> str | None:
    for name, value in request.query().items():
        if name == "token" or name.startswith("p_"):
            return value
    first = events[0] if events else None
    key = first.get("api_key") if isinstance(first, dict) else None
    return key if isinstance(key, str) else None


def _respond(results: Results) -> _Event:
    return batch_response(results, {"ok": True})


def _digest(raw: _Event, seen: Counter[str]) -> str:
    try:
        text = exact_json.as_text(raw, exact_json.DEEPEST)
    except exact_json.UnstorableValue as error:
        raise invalid_field("event", str(error)) from None
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    seen[digest] += 1
    return f"{digest}-{seen[digest]}"


def _data(fields: _Event, user: _Event) -> _Event:
    data = {key: value for key, value in fields.items() if key not in _NOT_DATA}
    data["user"] = {key: value for key, value in user.items() if key not in ("id", "anonymous_id")}
    if len(data) > MAX_DATA_KEYS:
        return data  # validation refuses it and names the reason
    return {key.removeprefix("."): value for key, value in flatten("", data).items()}
