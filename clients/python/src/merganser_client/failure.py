"""What a client reports when something goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from merganser_client.event import Event

Kind = Literal["unreachable", "misconfigured", "refused", "full", "closed"]


@dataclass(frozen=True)
class Failure:
    """A failure, as `on_error` receives it. The log has its kind and message."""

    kind: Kind
    """What happened:

    - `unreachable`: the server does not respond, or is busy. The client keeps the events and
      retries.
    - `misconfigured`: the server does not know the key or lacks a permission for it, or the
      endpoint is not a Merganser server. The client keeps the events and retries.
    - `refused`: the server will never accept these events. They are lost.
    - `full`: the queue had no room for this event. It is lost.
    - `closed`: the client was closed before the server confirmed these events. They are lost, but
      the server may have stored those of a request whose response did not arrive.
    """
    message: str
    lost: tuple[Event, ...] = ()
    """The events that the client gave up, with `message_id` and `json`."""


OnError = Callable[[Failure], None]


class Closed(RuntimeError):
    """The client is closed and accepts no more events."""
