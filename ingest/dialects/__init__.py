"""Dialects: each file turns requests of one kind of client into our events.

A dialect is pure. It names its routes, and for each a function from a request to what was said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ingest.request import Asked
from merganser.http.errors import ErrorKind, HttpError


class Answer(NamedTuple):
    """What a client gets with status 200."""

    content: bytes
    media_type: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


Results = Sequence[str | HttpError]
"""Of each event the guid, or why it was refused."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a client said in one request."""

    api_key: str | None
    """The key, where the dialect has one outside of the Authorization header, which comes first."""
    events: Sequence[Any]
    """Events in the form of `schemas.track`, not validated yet; `HttpError` in place of one that
    the dialect cannot read."""
    answer: Callable[[Results], dict[str, Any] | Answer]
    """What to answer; a dictionary is sent as JSON.

    It may raise one of the refusals instead, when the whole request stands or falls with it.
    """
    too_soon: ErrorKind = ErrorKind.RATE_LIMITED
    """The refusal that makes such a client send again what a rate limit has refused."""


@dataclass(frozen=True, slots=True)
class Told:
    """What clients are told who ask for their configuration: it needs no key."""

    answer: dict[str, Any] | Answer


Reader = Callable[[Asked], Said | Told]

Dialect = Mapping[str, Reader]
"""`METHOD path` -> the function that reads such a request; `*` is any one part of the path.

Each raises `HttpError` when the request has not the shape of the dialect."""
