"""The requests and responses of ingest, as OpenAPI at `/openapi.json` and as a page at `/docs`.

It is generated: paths from the dialects, the fields of an event from `schemas.track`, errors from
`merganser.http.errors`, and limits from the settings.
"""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json

from ingest.dialects import Dialect, RequestParser, Response, StaticResponse, native
from ingest.request import Request
from merganser.http import docs_page
from merganser.http.errors import ErrorKind
from merganser.http.static_files import StaticFile
from merganser.runtime.settings import IngestSettings
from schemas.track import Track

_Json = dict[str, Any]

_TEXT = """Ingest accepts events over HTTP and answers 200 when all in-sync replicas of the Kafka \
topic have them. Send JSON in UTF-8, with any content type, plain or as gzip.

Send the API key as `Authorization: Bearer KEY`, as the user of Basic authentication, or where the \
dialect has it in the body or the URL; with /api/v1 it is `apiKey` in the body.

Limits: {max_body} bytes of a body, also unpacked; {max_batch} events of a batch; {max_event} \
bytes of an event; {max_id} characters of type, userId and anonymousId; {max_keys} keys of data, \
{max_depth} levels deep.

Ingest ignores doubled and trailing slashes. It answers 404 for a path that is not listed here, \
405 with the header Allow for another method, and 204 to OPTIONS from pages of any origin."""

LIMITS = tuple(f"ingest_max_{what}" for what in ("body", "batch", "event", "id", "keys", "depth"))
"""Settings that limit what a client may send."""

_NOT_OF_INGEST = {ErrorKind.CONFLICT.status}
"""Statuses of the read API only."""

_OF_NO_PATH = {ErrorKind.NOT_FOUND.status, ErrorKind.METHOD_NOT_ALLOWED.status}

_OF_EVENTS = {
    ErrorKind.UNAUTHORIZED.status,
    ErrorKind.FORBIDDEN.status,
    ErrorKind.INVALID.status,
    ErrorKind.RATE_LIMITED.status,
}
"""Statuses of routes that take events only."""

_MEANINGS = {
    400: "The body is not JSON of this dialect's shape, or broken gzip.",
    401: "No API key, or one that is unknown or revoked.",
    403: "The key may not write events, or not from pages of this origin.",
    404: "There is no such path.",
    405: "The path takes other methods: those in Allow.",
    408: "The body did not arrive in time.",
    413: "The body, the batch or the event exceeds a limit.",
    422: "A field is not valid: `error.fields` says which and why.",
    429: "This key exceeds its rate limit: try again after Retry-After seconds.",
    500: "An internal error: try again later.",
    503: "Kafka does not accept the events now: try again after Retry-After seconds.",
}

_ERROR: _Json = {
    "description": "Code and message twice: some clients read the top, some the inner object.",
    "type": "object",
    "required": ["code", "message", "error"],
    "properties": {
        "code": {"enum": sorted({problem.code for problem in ErrorKind})},
        "message": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["code", "message", "fields"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "fields": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    },
}

_TAKEN: _Json = {
    "type": "object",
    "required": ["success", "event"],
    "properties": {
        "success": {"const": True},
        "event": {
            "type": "object",
            "required": ["guid"],
            "properties": {"guid": {"type": "string", "pattern": "^evt_"}},
        },
    },
}

_BATCH: _Json = {
    "type": "object",
    "required": ["events"],
    "properties": {
        "apiKey": {"type": "string"},
        "events": {
            "type": "array",
            "items": {},
            "description": "Each is an Event; ingest refuses an invalid one alone.",
        },
        "sentAt": {"description": "For each event without its own sentAt."},
    },
}

_BATCH_TAKEN: _Json = {
    "type": "object",
    "required": ["success", "accepted", "rejected", "events"],
    "properties": {
        "success": {"type": "boolean", "description": "Whether all events were accepted."},
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "events": {
            "type": "array",
            "description": "In the order of the request.",
            "items": {
                "anyOf": [
                    {"$ref": "#/components/schemas/Taken"},
                    {"$ref": "#/components/schemas/Refused"},
                ]
            },
        },
    },
}

_SHAPES: dict[RequestParser, tuple[str, str]] = {
    native.track: ("Event", "Taken"),
    native.batch: ("Batch", "BatchTaken"),
}
"""Schemas of the native dialect's requests and responses; docs/dialects.md has the others."""


def pages(dialects: Sequence[Dialect], settings: IngestSettings) -> Dialect:
    """Return the routes that describe all routes, their own included; they need no key."""
    response = Response(b"", b"application/json")

    def openapi(_: Request) -> StaticResponse:
        """Return this document."""
        return StaticResponse(response)

    own: Dialect = {
        "GET /openapi.json": openapi,
        **{f"GET {path}": _file_route(file) for path, file in docs_page.FILES.items()},
    }
    response = response._replace(content=to_json(document([*dialects, own], settings)))
    return own


def _file_route(file: StaticFile) -> RequestParser:
    def page(request: Request) -> StaticResponse:
        """Return this document as a page, or a file that the page needs."""
        return StaticResponse.of_file(file, request)

    return page


def document(dialects: Iterable[Dialect], settings: IngestSettings) -> _Json:
    """The OpenAPI document."""
    paths: _Json = {}
    for dialect in dialects:
        for route, reader in dialect.items():
            method, path = route.split(" ")
            operations = paths.setdefault(path.replace("*", "{part}"), {})
            operations[method.lower()] = _operation(method, path, reader)
    limits = {name.removeprefix("ingest_"): getattr(settings, name) for name in LIMITS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Merganser ingest",
            "version": "1",
            "description": _TEXT.format(**limits),
        },
        "paths": paths,
        "components": {
            "responses": {str(status): _refusal(status) for status in statuses()},
            "schemas": {
                "Event": _event(settings),
                "Batch": _BATCH,
                "Taken": _TAKEN,
                "BatchTaken": _BATCH_TAKEN,
                "Refused": _ERROR,
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key as user."},
            },
        },
    }


def statuses() -> list[int]:
    """Return the statuses of all refusals of ingest."""
    return sorted({problem.status for problem in ErrorKind} - _NOT_OF_INGEST)


def _operation(method: str, path: str, reader: RequestParser) -> _Json:
    sends_events = reader.__annotations__["return"] is not StaticResponse
    excluded = _OF_NO_PATH | (set() if sends_events else _OF_EVENTS)
    refusals = [status for status in statuses() if status not in excluded]
    request, response = _SHAPES.get(reader) or (None, None)
    text = inspect.getdoc(reader) or ""
    operation: _Json = {
        "tags": [reader.__module__.rpartition(".")[2]],
        "summary": text.partition("\n")[0],
        "description": text,
        "responses": {
            "200": {"description": "OK.", "content": _content(response)},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals},
        },
    }
    if "*" in path:
        part = {"name": "part", "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [part]
    if request:
        operation["requestBody"] = {"required": True, "content": _content(request)}
    elif sends_events and method == "POST":
        operation["requestBody"] = {"required": True, "content": {"application/json": {}}}
    if sends_events:
        operation["security"] = [{"bearer": []}, {"basic": []}]
    return operation


def _content(shape: str | None) -> _Json:
    if shape is None:
        return {"*/*": {}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}


def _refusal(status: int) -> _Json:
    return {"description": _MEANINGS[status], "content": _content("Refused")}


def _event(settings: IngestSettings) -> _Json:
    """Return the schema of an event with the limits of this gateway."""
    shape = Track.model_json_schema()
    for field in shape["properties"].values():
        del field["title"]
        field.pop("default", None)
    del shape["title"]
    fields = shape["properties"]
    fields["apiKey"] = {"type": "string", "description": "The key, if no header has it."}
    for name in ("userId", "anonymousId"):
        fields[name]["anyOf"][0] = {"type": "string", "maxLength": settings.ingest_max_id}
    fields["type"]["maxLength"] = settings.ingest_max_id
    fields["data"]["anyOf"][0] = {"type": "object", "maxProperties": settings.ingest_max_keys}
    return shape
