"""PostHog's capture API, as posthog-js, posthog-python, posthog-node and others use it.

| Merganser | PostHog |
|---|---|
| type | `event` |
| userId, anonymousId | see below |
| occurredAt | `timestamp`, or else `$time`; corrected by sentAt |
| sentAt | `sent_at` of the body, of the URL (or `_`), or of the event; not with `$ignore_sent_at` |
| messageId | `uuid`, or else `$insert_id` |
| data | properties under their own keys; `$set` and `$set_once` as `$set.*` and `$set_once.*` |

`distinct_id` is a user's or a visitor's. It is the anonymousId if `$is_identified` is false;
without `$is_identified`, if it equals `$device_id` or `$process_person_profile` is false, as server
libraries set it on anonymous events. Otherwise it is the userId, and `$device_id` is the
anonymousId: the event links the user and the device. The first user of a device stays its owner,
and after `reset()` posthog-js has a new distinct_id, so no later visits go to the wrong user.

- `$identify`: distinct_id is the userId and `$anon_distinct_id` the anonymousId.
- `$create_alias`, `$merge_dangerously`: `alias` is an anonymousId of the user with the distinct_id.
  It is the other way round if distinct_id is a visitor's, and for `alias(user, visitor)` of
  posthog-js and `alias(visitor, user)` of posthog-python, which both send the user's id as `alias`;
  unless distinct_id is the `$user_id`. Two users are never merged.
- `$groupidentify` describes a group. A distinct_id that a server library generates for it is
  ignored: `$TYPE_KEY`, and a UUID from posthog-python. So is `$posthog_cookieless`, which all
  visitors of a page in cookieless mode share. An event without another id is refused.

The key is `api_key` or `token` of the body, or `token` of an event, and never becomes data.
Recordings (`/s/`) are not stored. There are no feature flags. Ignored: `$unset`, `offset` (same as
`$time`), and fields other than `batch`, `properties`, `$set` and `$set_once`. Sources:
https://posthog.com/docs/api/capture and the packages named above.
"""

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from ingest.dialects import Dialect, ParsedRequest, Results, StaticResponse
from ingest.dialects.common import (
    add_flattened,
    batch_response,
    invalid_field,
    object_field,
    parse_each,
)
from ingest.request import Request, parse
from merganser.http.errors import ErrorKind, HttpError

_Event = dict[str, Any]

_FORM = b"data="
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COOKIELESS = "$posthog_cookieless"
_LINKS_TWO = ("$create_alias", "$merge_dangerously")
_NOT_DATA = ("token", "distinct_id", "$set", "$set_once")

_FLAGS: _Event = {
    "flags": {},
    "featureFlags": {},
    "featureFlagPayloads": {},
    "errorsWhileComputingFlags": False,
}
_CONFIG: _Event = {
    "supportedCompression": ["gzip-js"],
    "hasFeatureFlags": True,
    "autocapture_opt_out": False,
    "sessionRecording": False,
    "surveys": False,
    "heatmaps": False,
    "capturePerformance": False,
    "siteApps": [],
}
"""The configuration turns off all features of PostHog's server, even if a browser has stored them
as on. The page decides whether clicks are captured. Pages that wait for flags get none."""


def capture(request: Request) -> ParsedRequest:
    """Accept an event, an array of events, or an object with a `batch` of events."""
    body = _body(request)
    shared = body if isinstance(body, dict) else {}
    events = body if isinstance(body, list) else shared.get("batch", [shared])
    if not isinstance(events, list):
        raise invalid_field("batch", 'must be an array: send {"batch": [...]}')
    query = request.query()
    sent_at = shared.get("sent_at") or query.get("sent_at") or query.get("_")
    keys = (_key(fields) for fields in [shared, *events] if isinstance(fields, dict))
    return ParsedRequest(
        next((key for key in keys if key), None),
        parse_each(events, lambda event: _read(event, sent_at)),
        _respond,
        rate_limit_error=ErrorKind.RATE_LIMITED_RETRY,  # posthog-js drops events after status 429
    )


def config(_: Request) -> StaticResponse:
    """Return the configuration that posthog-js reads first: optional features are off."""
    return StaticResponse(_CONFIG)


def flags(_: Request) -> StaticResponse:
    """Return an empty list of feature flags."""
    return StaticResponse(_FLAGS)


def decide(_: Request) -> StaticResponse:
    """Return configuration and feature flags together, for older clients."""
    return StaticResponse({**_CONFIG, **_FLAGS})


def recording(_: Request) -> StaticResponse:
    """Ignore a part of a session recording."""
    return StaticResponse({"status": 1})


ROUTES: Dialect = {
    **{f"POST /{path}": capture for path in ("batch", "e", "i/v0/e", "capture", "track")},
    "GET /array/*/config": config,
    **dict.fromkeys(("POST /flags", "GET /flags"), flags),
    **dict.fromkeys(("POST /decide", "GET /decide"), decide),
    "POST /s": recording,
}


def _body(request: Request) -> Any:
    """Return the JSON of a body. It may be base64 in a form, which needs no CORS preflight.

    Raises:
        HttpError: MALFORMED.
    """
    text = request.body
    if text.startswith(_FORM):
        text = unquote_to_bytes(text.removeprefix(_FORM).partition(b"&")[0])
    elif request.query().get("compression") != "base64":
        return request.json()
    if not text.startswith((b"{", b"[")):
        try:
            text = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise HttpError(
                ErrorKind.MALFORMED, "the body is neither JSON nor base64 of JSON"
            ) from None
    return parse(text)


def _key(fields: _Event) -> str | None:
    properties = fields.get("properties")
    nested = properties.get("token") if isinstance(properties, dict) else None
    candidates = (fields.get("api_key"), fields.get("token"), nested)
    return next((key for key in candidates if isinstance(key, str) and key), None)


def _respond(results: Results) -> _Event:
    return batch_response(results, {"status": 1})


def _read(event: _Event, sent_at: Any) -> _Event:
    name, properties = event.get("event"), object_field(event, "properties")
    if not isinstance(name, str) or not name:
        raise invalid_field("event", "must be the event's name")
    user, anonymous = _ids(name, event, properties)
    uncorrected = properties.get("$ignore_sent_at") is True
    return {
        "type": name,
        "userId": user,
        "anonymousId": anonymous,
        "occurredAt": event.get("timestamp") or properties.get("$time"),
        "sentAt": None if uncorrected else sent_at or event.get("sent_at"),
        "messageId": event.get("uuid") or properties.get("$insert_id"),
        "data": _data(event, properties),
    }


def _ids(name: str, event: _Event, properties: _Event) -> tuple[Any, Any]:
    """Return the userId and the anonymousId of an event."""
    distinct = _without_cookieless(event.get("distinct_id") or properties.get("distinct_id"))
    device = properties.get("$device_id")
    if name == "$identify":
        return distinct, _without_cookieless(properties.get("$anon_distinct_id")) or device
    if name == "$groupidentify" and _is_generated(distinct, properties):
        return None, device
    anonymous = _is_anonymous(distinct, properties)
    if name in _LINKS_TWO:
        other = _without_cookieless(properties.get("alias"))
        if anonymous or (name == "$create_alias" and _alias_is_the_user(distinct, properties)):
            return other, distinct
        return distinct, other
    return (None, distinct) if anonymous else (distinct, device)


def _without_cookieless(distinct: Any) -> Any:
    return None if distinct == _COOKIELESS else distinct


def _is_generated(distinct: Any, properties: _Event) -> bool:
    if not isinstance(distinct, str):
        return False
    if properties.get("$lib") == "posthog-python":
        return _UUID.fullmatch(distinct) is not None
    return distinct.startswith(f"${properties.get('$group_type')}_")


def _alias_is_the_user(distinct: Any, properties: _Event) -> bool:
    by_library = properties.get("$lib") in ("posthog-python", "web")
    return by_library and distinct != properties.get("$user_id")


def _is_anonymous(distinct: Any, properties: _Event) -> bool:
    identified = properties.get("$is_identified")
    if isinstance(identified, bool):
        return not identified
    return (
        distinct == properties.get("$device_id")
        or properties.get("$process_person_profile") is False
    )


def _data(event: _Event, properties: _Event) -> _Event:
    data = {key: value for key, value in properties.items() if key not in _NOT_DATA}
    for field in ("$set", "$set_once"):
        data = add_flattened(
            data, field, {**object_field(properties, field), **object_field(event, field)}
        )
    return data
