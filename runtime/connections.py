"""HTTP connections that nobody can hold for ever: bounds of number, time and size.

uvicorn waits without end for a request's head, keeps as many connections as come, and a head may be
of any size. Slow senders (https://en.wikipedia.org/wiki/Slowloris_(cyber_attack)) live on that. A
request's body has bounds of its own, in the application.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime import metrics


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server puts up with."""

    connections: int = 1000
    """At once. Past it, the connection is closed that has waited longest for its next request."""
    head_seconds: float = 10
    """From a connection, or the first byte of a request on it, to the end of the request's head."""
    request_seconds: float = 60
    """From there to the end of the answer, which a client may be slow to read."""
    head_bytes: int = 64 << 10
    """Of a request's first line and headers, beside what one read brings."""
    request_bytes: int = 64 << 20
    """From there to the answer, with what is around a body's chunks and after the last one."""


DEFAULT = Bounds()

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


@dataclass(slots=True)
class Connections:
    """The connections of one server."""

    bounds: Bounds
    unserved: "OrderedDict[_Protocol, None]" = field(default_factory=OrderedDict)
    """Those without a request in hand, longest first."""
    serving: "set[_Protocol]" = field(default_factory=set)

    def protocol(self, **arguments: Any) -> "_Protocol":
        """A new connection, in the form of uvicorn's `http`."""
        return _Protocol(self, **arguments)

    def make_room(self) -> None:
        """Close what is above the bound."""
        while len(self.unserved) + len(self.serving) > self.bounds.connections and self.unserved:
            oldest, _ = self.unserved.popitem(last=False)
            oldest.cut("crowded")

    def cut_the_slow(self, now: float) -> None:
        """Close what has taken too long; to be called now and then."""
        for some, seconds, reason in (
            (self.unserved, self.bounds.head_seconds, "slow head"),
            (self.serving, self.bounds.request_seconds, "slow request"),
        ):
            for connection in [c for c in some if c.since is not None and now - c.since > seconds]:
                connection.cut(reason)


class _Protocol(HttpToolsProtocol):
    """uvicorn's, watched."""

    def __init__(self, watch: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._watch = watch
        self.since: float | None = None
        """When the head, or else the request, began; None between requests, as uvicorn's own
        timeout counts then."""
        self._in_head = True
        self._received = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.since = time.monotonic()
        self._watch.unserved[self] = None
        self._watch.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.unserved.pop(self, None)
        self._watch.serving.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.since is None:
            self.since = time.monotonic()
        self._received += len(data)
        super().data_received(data)
        bounds = self._watch.bounds
        if self._in_head:
            if self._received > bounds.head_bytes and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.cut("large head", gently=True)
        elif self._received > bounds.request_bytes and self in self._watch.serving:
            self.cut("large request")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._received = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._received = 0
        self.since = time.monotonic()
        self._watch.unserved.pop(self, None)
        self._watch.serving.add(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else another request came before this answer
            self.since = None
            self._watch.serving.discard(self)
            if not self.transport.is_closing():
                self._watch.unserved[self] = None

    def cut(self, reason: str, *, gently: bool = False) -> None:
        """Close the connection: at once, or after what was written."""
        metrics.CONNECTIONS_CUT.labels(reason).inc()
        if gently:
            self.transport.close()
        else:
            self.transport.abort()
