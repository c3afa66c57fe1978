"""HTTP connections that nobody can hold for ever: bounds of number, time and size.

uvicorn waits without end for a request's head, keeps as many connections as come, and a head may be
of any size. Slow senders (https://en.wikipedia.org/wiki/Slowloris_(cyber_attack)) live on that. A
request's body has bounds of its own, in the application.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from merganser.runtime import metrics


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server puts up with."""

    connections: int = 1000
    """At once. Past it, the one is closed whose client has kept us waiting longest."""
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
    waiting: "OrderedDict[_Protocol, None]" = field(default_factory=OrderedDict)
    """Those whose client has yet to send its next request, or the rest of it; longest first."""
    serving: "set[_Protocol]" = field(default_factory=set)
    """Those with a whole request in hand."""

    def protocol(self, **arguments: Any) -> "_Protocol":
        """A new connection, in the form of uvicorn's `http`."""
        return _Protocol(self, **arguments)

    def make_room(self) -> None:
        """Close what is above the bound."""
        while len(self.waiting) + len(self.serving) > self.bounds.connections and self.waiting:
            longest, _ = self.waiting.popitem(last=False)
            longest.cut("crowded")

    def cut_the_slow(self, now: float) -> None:
        """Close what has taken too long; to be called now and then."""
        for connection in [*self.waiting, *self.serving]:
            if connection.is_late(now):
                connection.cut("slow")


class _Protocol(HttpToolsProtocol):
    """uvicorn's, watched."""

    def __init__(self, watch: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._watch = watch
        self._since: float | None = None
        """When the head, or else what follows it, began; None between requests, as uvicorn's own
        timeout counts then."""
        self._in_head = True
        self._received = 0
        """Bytes of the head, or else of what follows it."""

    @property
    def _answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def is_late(self, now: float) -> bool:
        """Whether this has taken longer than is allowed."""
        if self._since is None:
            return False
        bounds = self._watch.bounds
        in_head = self._in_head or self._answered
        return now - self._since > (bounds.head_seconds if in_head else bounds.request_seconds)

    def cut(self, reason: str) -> None:
        """Close the connection at once."""
        metrics.CONNECTIONS_CUT.labels(reason).inc()
        self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = time.monotonic()
        self._watch.waiting[self] = None
        self._watch.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.waiting.pop(self, None)
        self._watch.serving.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._since is None:
            self._since = time.monotonic()
        self._received += len(data)
        super().data_received(data)
        bounds = self._watch.bounds
        if self._in_head:
            if self._received > bounds.head_bytes and not self.transport.is_closing():
                metrics.CONNECTIONS_CUT.labels("large").inc()
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        elif self._received > bounds.request_bytes and not self._answered:
            self.cut("large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._received = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._received = 0
        self._since = time.monotonic()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self._answered:
            self._watch.waiting.pop(self, None)
            self._watch.serving.add(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answered:  # else another request came before this answer
            self._since = None
            self._watch.serving.discard(self)
            if not self.transport.is_closing():
                self._watch.waiting[self] = None
