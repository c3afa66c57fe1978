"""Dialects: one file per client family turns its requests into events. Dialects do no I/O.

To add a dialect:

1. Add a file here. For each kind of request, write a function `RequestParser`: it takes a
   `Request` and returns a `ParsedRequest` with the events in the fields of `schemas.track`, or a
   `StaticResponse`. `common.py` has what dialects share. Start from `rudderstack.py`, the smallest,
   or `segment.py`.
2. Put its routes into a constant `ROUTES`, and add the file to `DIALECTS` in `ingest/main.py`. The
   OpenAPI document then lists the routes; the parsers' docstrings are their descriptions.
3. Show the mapping of fields in a table in the file's docstring and in `docs/dialects.md`.
4. Test the parsers without a network, as in `tests/ingest/test_rudderstack.py`, and add the clients
   themselves to `tests/clients`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from merganser.http.static_files import StaticFile


class Response(NamedTuple):
    """A response with status 200."""

    content: bytes
    media_type: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


Results = Sequence[str | HttpError]
"""For each event of a request its guid, or why it was refused."""


@dataclass(slots=True)  # frozen, it would cost twice as much
class ParsedRequest:
    """The events of one request, and how to respond to it."""

    api_key: str | None
    """The key, if the dialect has one elsewhere than in the Authorization header. The header has
    precedence."""
    events: Sequence[Any]
    """Events with the fields of `schemas.track`, not validated yet, or an `HttpError` in place of
    an event that the dialect cannot read."""
    respond: Callable[[Results], dict[str, Any] | Response]
    """Returns the response; a dictionary is sent as JSON.

    It may raise one of the errors instead, to fail the whole request.
    """
    rate_limit_error: ErrorKind = ErrorKind.RATE_LIMITED
    """The error after which such a client retries what a rate limit has refused."""


@dataclass(frozen=True, slots=True)
class StaticResponse:
    """The response to a client that asks for its configuration or a file. It needs no API key."""

    response: dict[str, Any] | Response

    @classmethod
    def of_file(cls, file: StaticFile, request: Request) -> "StaticResponse":
        """Return the response with a file, compressed if the client accepts gzip."""
        content, headers = file.encode(request.headers.get(b"accept-encoding", b""))
        return cls(Response(content, file.media_type, headers))


RequestParser = Callable[[Request], ParsedRequest | StaticResponse]
"""Raises `HttpError` if the request does not have the shape of the dialect."""

Dialect = Mapping[str, RequestParser]
"""The parser of each route, such as `POST /v1/track`. In a path, `*` matches one part."""
