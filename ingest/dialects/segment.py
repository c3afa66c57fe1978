"""Segment's HTTP API, and RudderStack's, which only adds a few paths (`rudderstack.py`).

| Merganser | Segment |
|---|---|
| type | the event's name for a track call; otherwise the call: `identify`, `page`, ... |
| userId, anonymousId | the same; for an alias, previousId is the anonymousId |
| occurredAt | `timestamp`, or else `originalTimestamp`; corrected by `sentAt` |
| sentAt | the batch's, or else the event's: a client that retries may update only the first |
| messageId | the same |
| data | properties as they are; traits as `traits.*`; context as `context.*`; see below |

- page and screen: `name` and `category` become data and win over properties.
- identify: RudderStack's clients have the traits in `context.traits`. These become `traits.*` too;
  `traits` wins.
- group: `groupId` and `traits.*` are data. A group links no ids.
- alias: previousId, or else anonymousId, is the anonymousId, so that visitor becomes the user. If
  it belongs to another user, the two users are not merged. previousId is data too, and so is the
  anonymousId that it replaces.

Ignored: `integrations`, `channel`, `_metadata`, `receivedAt`, `version`, and all other fields.
Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/ and the
requests of both companies' clients.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ingest.dialects import Dialect, ParsedRequest, Results, StaticResponse
from ingest.dialects.common import (
    add_flattened,
    batch_response,
    invalid_field,
    object_field,
    parse_each,
)
from ingest.request import Request

_Event = dict[str, Any]


def call(kind: str) -> Callable[[Request], ParsedRequest]:
    """Return the parser of requests with one event of this kind."""

    def read(request: Request) -> ParsedRequest:
        """Accept one event of the kind that the path names."""
        event = request.object()
        return ParsedRequest(
            _key(event), parse_each([event], lambda raw: _read(raw, kind)), _respond
        )

    return read


def batch(request: Request) -> ParsedRequest:
    """Accept a batch of events of any kinds."""
    body = request.object()
    events = body.get("batch")
    if not isinstance(events, list):
        raise invalid_field("batch", 'must be an array: send {"batch": [...]}')
    sent_at, shared = body.get("sentAt"), body.get("context")

    def read(event: _Event) -> _Event:
        own = event.get("context") or {}
        if isinstance(shared, dict) and isinstance(own, dict):
            event["context"] = {**shared, **own}
        parsed = _read(event, event.get("type"))
        parsed["sentAt"] = sent_at or parsed["sentAt"]
        return parsed

    keys = (_key(fields) for fields in (body, *events) if isinstance(fields, dict))
    return ParsedRequest(next(filter(None, keys), None), parse_each(events, read), _respond)


def settings(request: Request) -> StaticResponse:
    """Return the settings that browser and mobile clients read before they send events.

    The settings name the host of this request, and turn off the client's own metrics.
    """
    (key,) = request.parts
    here: dict[str, Any] = {"apiKey": key}
    if host := request.headers.get(b"host"):
        here["apiHost"] = f"{host.decode('latin-1')}/v1"
        here["protocol"] = _protocol(request.headers)
    return StaticResponse({"integrations": {"Segment.io": here}, "metrics": {"sampleRate": 0}})


def _protocol(headers: Mapping[bytes, bytes]) -> str:
    """Return https if the proxy that terminates TLS says so, or if the page itself uses https."""
    hints = headers.get(b"x-forwarded-proto", b""), headers.get(b"origin", b"")
    return "https" if any(value.startswith(b"https") for value in hints) else "http"


def _key(fields: _Event) -> str | None:
    key = fields.get("writeKey")
    return key if isinstance(key, str) else None


def _respond(results: Results) -> dict[str, Any]:
    return batch_response(results, {"success": True})


def _read(event: _Event, kind: Any) -> _Event:
    build = _KINDS.get(kind) if isinstance(kind, str) else None
    if build is None:
        raise invalid_field("type", f"must be one of {', '.join(_KINDS)}")
    return {
        "type": kind,
        "userId": event.get("userId"),
        "anonymousId": event.get("anonymousId"),
        "occurredAt": _first_given(event.get("timestamp"), event.get("originalTimestamp")),
        "sentAt": event.get("sentAt"),
        "messageId": event.get("messageId"),
        **build(event),
    }


def _first_given(value: Any, otherwise: Any) -> Any:
    """Return `otherwise` for a missing or empty value. Other invalid times are refused later."""
    return otherwise if value is None or value == "" else value


def _track(event: _Event) -> _Event:
    name = event.get("event")
    if not isinstance(name, str) or not name:
        raise invalid_field("event", "must be the event's name")
    return {
        "type": name,
        "data": add_flattened(object_field(event, "properties"), "context", event.get("context")),
    }


def _page(event: _Event) -> _Event:
    named = {field: event[field] for field in ("name", "category") if event.get(field)}
    data = {**object_field(event, "properties"), **named}
    return {"data": add_flattened(data, "context", event.get("context"))}


def _identify(event: _Event) -> _Event:
    context, traits = event.get("context"), object_field(event, "traits")
    if isinstance(context, dict) and isinstance(context.get("traits"), dict):
        traits = {**context["traits"], **traits}
        context = {key: value for key, value in context.items() if key != "traits"}
    return {"data": add_flattened(add_flattened({}, "traits", traits), "context", context)}


def _group(event: _Event) -> _Event:
    data = add_flattened({"groupId": event.get("groupId")}, "traits", object_field(event, "traits"))
    return {"data": add_flattened(data, "context", event.get("context"))}


def _alias(event: _Event) -> _Event:
    previous, anonymous = event.get("previousId"), event.get("anonymousId")
    data = {"previousId": previous, "anonymousId": anonymous if previous else None}
    return {
        "anonymousId": previous or anonymous,
        "data": add_flattened(data, "context", event.get("context")),
    }


_KINDS: dict[str, Callable[[_Event], _Event]] = {
    "track": _track,
    "identify": _identify,
    "page": _page,
    "screen": _page,
    "group": _group,
    "alias": _alias,
}

ROUTES: Dialect = {
    **{f"POST /v1/{kind}": call(kind) for kind in _KINDS},
    **{f"POST /v1/{kind[0]}": call(kind) for kind in _KINDS},
    # Browser and mobile clients add `/t` to what they were given as their `apiHost`, with or
    # without `/v1`. There is no `/s`, which is another dialect's.
    **{f"POST /{kind[0]}": call(kind) for kind in _KINDS if kind != "screen"},
    **dict.fromkeys(("POST /v1/batch", "POST /v1/import", "POST /v1/b", "POST /b"), batch),
    **dict.fromkeys(("GET /v1/projects/*/settings", "GET /projects/*/settings"), settings),
}
