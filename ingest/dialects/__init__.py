"""Dialects: each file turns a parsed request of one kind of client into our events (design §7).

A dialect is pure. It names its paths, and for each a function from a request to `Said`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.refusals import Refused


@dataclass(frozen=True, slots=True)
class Said:
    """What a client said in one request."""

    api_key: str | None
    """The key in the body, if the dialect has one there."""
    events: Sequence[Any]
    """Events in the form of `schemas.track`, not validated yet."""
    answer: Callable[[Sequence[str | Refused]], dict[str, Any]]
    """From each event's guid, or why it was refused, to the body of the answer with status 200.

    It may raise one of the refusals instead, when the whole request stands or falls with it.
    """


Dialect = Mapping[str, Callable[[Any], Said]]
"""Paths, and the function that reads a request's body sent there.

Each raises `Refused` when the body has not the shape of the dialect."""
