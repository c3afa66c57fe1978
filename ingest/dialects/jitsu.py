"""Jitsu's two APIs: that of `@jitsu/js`, which is Segment's in other places, and the older one.

**`/api/s/*`**, and `/api/s/s2s/*` from servers: one event of Segment's shape, mapped as in
`segment.py`, with the kind that the path names. The key is in the header `X-Write-Key`, after the
colon: `@jitsu/js` insists on `id:secret`, and shows the id in every body. Anything may stand for
the id. A header without a colon is the key as a whole. `writeKey` in the body is masked: no key.

**`/api/v1/event`**, and `/api/v1/s2s/event` from servers: what `@jitsu/sdk-js` sends.

| ours | sdk-js' |
|---|---|
| type | `event_type`; of `id()` it is `user_identify` |
| userId, anonymousId | `user.id`, `user.anonymous_id`: an event with both links the two |
| occurredAt | `utc_time`, by the client's clock: it does not say when it sent the event |
| messageId | `event_id`; as clients leave it empty, else a digest of the event, see below |
| data | all else, nested objects as dotted keys: `user.email`, `utm.source` |

An event without `event_id` is known again by its content, which has its time to the millisecond,
and by how many equal ones came before it in the request: a client that tries again sends the same.
The key is `token` of the URL, or `p_*` with `randomize_url`, or `api_key` of the first event. It
never becomes data. In `compat_mode` the context is in `eventn_ctx`, and is read from there.

There are no group and alias calls. Ignored: `cookie_policy` and `ip_policy`; a client told to use
no cookies sends no anonymous id either, and we give it none. Source: the packages themselves.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Any

from ingest.dialects import Dialect, Reader, Results, Said, segment
from ingest.dialects.common import MOST_KEYS, each, flatten, invalid, members, partly
from ingest.request import Asked
from schemas import exact_json

_Event = dict[str, Any]

_NOT_DATA = ("event_type", "event_id", "utc_time", "user", "api_key", "eventn_ctx")


def call(kind: str) -> Reader:
    """The reader of `@jitsu/js`' requests that are one event of a kind."""
    read = segment.call(kind)

    def reader(asked: Asked) -> Said:
        """One event, of the kind that the path names."""
        first, _, secret = asked.headers.get(b"x-write-key", b"").decode("latin-1").partition(":")
        return replace(read(asked), api_key=secret or first, answer=_answer)

    return reader


def event(asked: Asked) -> Said:
    """What `@jitsu/sdk-js` sends: an array of events, or one."""
    body = asked.json()
    events = body if isinstance(body, list) else [body]
    seen: Counter[str] = Counter()

    def read(one: _Event) -> _Event:
        said = {**members(one, "eventn_ctx"), **one}
        user = members(said, "user")
        return {
            "type": said.get("event_type"),
            "userId": user.get("id"),
            "anonymousId": user.get("anonymous_id"),
            "occurredAt": said.get("utc_time"),
            "messageId": said.get("event_id") or _digest(one, seen),
            "data": _data(said, user),
        }

    return Said(_key(asked, events), each(events, read), _answer)


ROUTES: Dialect = {
    **{
        f"POST /api/s/{side}{kind}": call(kind)
        for side in ("", "s2s/")
        for kind in ("page", "identify", "track", "group", "screen", "alias")
    },
    **dict.fromkeys(("POST /api/v1/event", "POST /api/v1/s2s/event", "POST /api.*"), event),
}


def _key(asked: Asked, events: list[Any]) -> str | None:
    for name, value in asked.query().items():
        if name == "token" or name.startswith("p_"):
            return value
    first = events[0] if events else None
    key = first.get("api_key") if isinstance(first, dict) else None
    return key if isinstance(key, str) else None


def _answer(results: Results) -> _Event:
    return partly(results, {"ok": True})


def _digest(one: _Event, seen: Counter[str]) -> str:
    try:
        text = exact_json.as_text(one, exact_json.DEEPEST)
    except exact_json.Unfit as error:
        raise invalid("event", str(error)) from None
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    seen[digest] += 1
    return f"{digest}-{seen[digest]}"


def _data(said: _Event, user: _Event) -> _Event:
    data = {key: value for key, value in said.items() if key not in _NOT_DATA}
    data["user"] = {key: value for key, value in user.items() if key not in ("id", "anonymous_id")}
    if len(data) > MOST_KEYS:
        return data  # which is refused, and says why
    return {key.removeprefix("."): value for key, value in flatten("", data).items()}
