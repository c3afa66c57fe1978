"""Snowplow's tracker protocol: POST tp2 and the GET pixel.

| Merganser | Snowplow |
|---|---|
| type | `e`: `page_view`, `page_ping`, `struct`, `transaction`, `transaction_item`; for a |
|      | self-describing event the name in its schema: `link_click`, `save_game`, ... |
| userId | `uid` |
| anonymousId | `duid`, or else `userId` of a `client_session` entity, `tnuid` or `nuid` |
| occurredAt | `ttm` unchanged, or else `dtm`, corrected by `stm` |
| sentAt | `stm`; not from the Python tracker, which cuts it to whole seconds |
| messageId | `eid` |
| data | the data of a self-describing event under its own keys, its `schema`; the other fields |
|      | of the protocol under their short names (`url`, `page`, `se_ca`, `tr_id`, ...); entities |

Entities ("contexts") are `context.NAME.*`, NAME from their schema; several of one name are an
array at `context.NAME`. If a self-describing event has a key of the protocol, its own value wins.
Base64 (`ue_px`, `cx`) and plain JSON (`ue_pr`, `co`) are equivalent.

The API key is the app id (`aid`); of several events in a request, that of the first. It never
becomes data. An event with `uid` and `duid` links the two; there are no identify, alias and group
calls. With anonymous tracking a browser sends no duid, and events without a `uid` are refused.
Ignored: `Sp-Anonymous` (the address of the client is kept), the network user id's cookie.

Trackers drop events on 400, 401, 403, 410 and 422 and send them again on any other error, the
Python tracker without end. So an event that is too large is refused as invalid. Sources:
https://docs.snowplow.io/docs/fundamentals/canonical-event and the trackers of Python, Node
and the browser.
"""

import base64
from typing import Any

from ingest.dialects import Dialect, ParsedRequest, Response, Results
from ingest.dialects.common import add_flattened, batch_response, invalid_field, parse_each
from ingest.request import Request, parse
from merganser.http.errors import ErrorKind, HttpError

_Event = dict[str, Any]

_TYPES = {
    "pv": "page_view",
    "pp": "page_ping",
    "se": "struct",
    "tr": "transaction",
    "ti": "transaction_item",
}
"""The names in Snowplow's own tables."""

_NOT_DATA = ("e", "eid", "aid", "uid", "duid", "dtm", "stm", "ttm", "ue_px", "ue_pr", "cx", "co")

_PIXEL = Response(
    base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"), b"image/gif"
)


def post(request: Request) -> ParsedRequest:
    """Accept a batch: `{"schema", "data": [...]}`."""
    events = request.object().get("data")
    if not isinstance(events, list):
        raise invalid_field("data", 'must be an array: send {"data": [...]}')
    return ParsedRequest(_key(events[0]) if events else None, parse_each(events, _read), _respond)


def pixel(request: Request) -> ParsedRequest:
    """Accept one event in the parameters of the URL, and return a pixel."""
    event = request.query()
    return ParsedRequest(_key(event), parse_each([event], _read), _respond_with_pixel)


ROUTES: Dialect = {"POST /com.snowplowanalytics.snowplow/tp2": post, "GET /i": pixel}


def _key(event: Any) -> str | None:
    key = event.get("aid") if isinstance(event, dict) else None
    return key if isinstance(key, str) else None


def _respond(results: Results) -> _Event:
    try:
        return batch_response(results, {"status": "ok"})
    except HttpError as error:
        if error.kind is not ErrorKind.TOO_LARGE:
            raise
        raise HttpError(ErrorKind.INVALID, error.message) from None


def _respond_with_pixel(results: Results) -> Response:
    _respond(results)
    return _PIXEL


def _read(event: _Event) -> _Event:
    entities = _entities(event)
    event_type, own_data = _type_and_data(event)
    plain = {key: value for key, value in event.items() if key not in _NOT_DATA}
    true_time, exact = event.get("ttm"), not str(event.get("tv")).startswith("py-")
    return {
        "type": event_type,
        "userId": event.get("uid"),
        "anonymousId": event.get("duid")
        or _session_user_id(entities)
        or event.get("tnuid")
        or event.get("nuid"),
        "occurredAt": true_time or event.get("dtm"),
        "sentAt": event.get("stm") if exact and not true_time else None,
        "messageId": event.get("eid"),
        "data": add_flattened({**plain, **own_data}, "context", entities),
    }


def _type_and_data(event: _Event) -> tuple[str, _Event]:
    """Return the type of an event, and the data of a self-describing event."""
    kind = event.get("e")
    if not isinstance(kind, str) or not kind:
        raise invalid_field("e", "must be the kind of event, such as pv")
    if kind != "ue":
        return _TYPES.get(kind, kind), {}
    inner = _document(event, "ue_px", "ue_pr")
    described = None if inner is None else inner.get("data")
    if not isinstance(described, dict) or not isinstance(described.get("data"), dict):
        raise invalid_field("ue_px", 'must be {"schema", "data": {"schema", "data": {...}}}')
    return _name(described), {"schema": described["schema"], **described["data"]}


def _entities(event: _Event) -> _Event:
    """Return the entities of an event by name: an object each, or an array if a name repeats."""
    outer = _document(event, "cx", "co")
    listed = [] if outer is None else outer.get("data")
    if not isinstance(listed, list):
        raise invalid_field("cx", 'must be {"schema", "data": [...]}')
    found: dict[str, list[Any]] = {}
    for entity in listed:
        found.setdefault(_name(entity), []).append(entity.get("data"))
    return {name: data[0] if len(data) == 1 else data for name, data in found.items()}


def _name(described: Any) -> str:
    """Return `save_game` for `{"schema": "iglu:com.acme/save_game/jsonschema/1-0-2", ...}`."""
    schema = described.get("schema") if isinstance(described, dict) else None
    parts = schema.split("/") if isinstance(schema, str) else []
    if len(parts) != 4:  # noqa: PLR2004 - vendor, name, format, version
        raise invalid_field("schema", "must be iglu:VENDOR/NAME/FORMAT/VERSION")
    return parts[1]


def _session_user_id(entities: _Event) -> Any:
    """Return the device's id from mobile trackers, which have no duid."""
    session = entities.get("client_session")
    return session.get("userId") if isinstance(session, dict) else None


def _document(event: _Event, encoded: str, plain: str) -> _Event | None:
    """Return the JSON of a field: in base64 under one name, in plain text under the other."""
    field = encoded if event.get(encoded) else plain
    text = event.get(field)
    if not text:
        return None
    if not isinstance(text, str):
        raise invalid_field(field, "must be a string")
    try:
        # Some trackers omit the padding; extra padding is ignored.
        raw = base64.urlsafe_b64decode(text + "==") if field == encoded else text.encode()
        document = parse(raw)
    except (ValueError, HttpError) as error:
        raise invalid_field(field, f"cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise invalid_field(field, "must be a JSON object")
    return document
