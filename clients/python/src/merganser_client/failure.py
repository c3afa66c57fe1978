"""What a client tells its owner when something goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from merganser_client.event import Event

Kind = Literal["unreachable", "misconfigured", "refused", "full", "closed"]


@dataclass(frozen=True)
class Failure:
    """Something went wrong: for `on_error`, and for the log in short."""

    kind: Kind
    """What happened:

    - `unreachable`: the gateway is away or busy. The events are kept and sent again.
    - `misconfigured`: the gateway does not know the key, or the endpoint is no gateway. The events
      are kept and sent again.
    - `refused`: the gateway will never take these events. They are lost.
    - `full`: the queue had no room for this event. It is lost.
    - `closed`: the client was closed before it knew of these events that they arrived. What was
      not under way is lost.
    """
    message: str
    lost: tuple[Event, ...] = ()
    """The events that the client gave up: with `message_id`, and `json` as they were sent."""


OnError = Callable[[Failure], None]


class Closed(RuntimeError):
    """The client is closed, and takes no more events."""
