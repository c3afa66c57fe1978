"""The HTTP server: uvicorn with limits on connections, and a shutdown that fails no request.

By itself, uvicorn waits for a request's head without a timeout, accepts any number of connections,
and reads a head of any size. Slow clients (https://en.wikipedia.org/wiki/Slowloris_(cyber_attack))
exploit that. The application limits the size and time of a request's body.

Both classes override internals of uvicorn, so pyproject.toml caps its version.
"""

import asyncio
import contextlib
import select
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from merganser.http.asgi import App
from merganser.runtime import metrics

CLOSE_NOTICE_SECONDS = 1.0
"""Time for clients to hear that their connections will close. A request that arrives while its
connection closes gets no response, and the client cannot know whether it was read (RFC 9112 §9.5).
"""

ACCEPT_SECONDS = 0.5
"""Time to accept the connections that wait. A flood of them must not delay the end."""

_IDLE_TURNS = 10
"""Turns of the event loop after which an accepted connection has its protocol, which it does not
get from a closed listener."""

_CONTINUE = b"HTTP/1.1 100"

_CLOSE = (b"connection", b"close")
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one server's connections."""

    connections: int = 1000
    """Open at the same time. Above it, the connection closes that waited longest for its client."""
    head_seconds: float = 10
    """From the start of a connection, or the first byte of a later request, to the end of the
    request's head."""
    request_seconds: float = 60
    """From there to the end of the response, which a client may be slow to read."""
    head_bytes: int = 64 << 10
    """Of a request's first line and headers. One read may exceed it."""
    request_bytes: int = 64 << 20
    """From there to the response, with the framing of chunks and what follows the last one."""


DEFAULT_LIMITS = ConnectionLimits()


class Server(uvicorn.Server):
    """uvicorn with connection limits, in a process that handles signals itself."""

    def __init__(self, config: uvicorn.Config, connections: "_Connections") -> None:
        super().__init__(config)
        self._connections = connections
        self.has_started = asyncio.Event()
        """Set when it accepts connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, or accept the connections of these sockets."""
        await super().startup(sockets)
        self.has_started.set()

    async def on_tick(self, counter: int) -> bool:
        """Close slow connections. uvicorn calls this ten times a second."""
        self._connections.close_slow(time.monotonic())
        return await super().on_tick(counter)

    async def shut_down(self) -> None:
        """Stop without failing a request.

        New connections are refused at once, so a client knows that its request was not read. The
        next response on each open connection says that the connection closes.
        """
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for listener in self.servers if self.started else ():
            await _accept_pending(listener)
            listener.close()
        if self.server_state.connections:
            await asyncio.sleep(CLOSE_NOTICE_SECONDS)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `merganser.runtime.lifecycle` handles signals."""
        yield


def create_server(
    app: App, host: str, port: int, limits: ConnectionLimits = DEFAULT_LIMITS, **options: Any
) -> Server:
    """Return a server. `serve()` runs it until `should_exit` is set or `shut_down()` is called.

    Args:
        app: answers the requests.
        host: to listen on.
        port: to listen on.
        limits: of its connections.
        options: further arguments of `uvicorn.Config`.
    """
    connections = _Connections(limits)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connections.protocol,  # type: ignore[arg-type] # uvicorn only calls it
        loop="none",
        lifespan="off",
        ws="none",  # "auto" would give an Upgrade request to `websockets`, if that is installed
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        **options,
    )
    return Server(config, connections)


async def _accept_pending(listener: asyncio.Server) -> None:
    """Return when no connection waits to be accepted: closing the listener would reset it."""
    sockets = [sock.fileno() for sock in listener.sockets]
    end = time.monotonic() + ACCEPT_SECONDS
    idle_turns = 0
    while True:
        idle_turns = 0 if select.select(sockets, [], [], 0)[0] else idle_turns + 1
        if idle_turns == _IDLE_TURNS or time.monotonic() > end:
            return
        await asyncio.sleep(0)


@dataclass(slots=True)
class _Connections:
    """The open connections of one server."""

    limits: ConnectionLimits
    waiting: "OrderedDict[_Connection, None]" = field(default_factory=OrderedDict)
    """Wait for their client's next request, or for the rest of one. The oldest come first."""
    serving: "set[_Connection]" = field(default_factory=set)
    """Have received a whole request."""

    def protocol(self, **arguments: Any) -> "_Connection":
        """Return a new connection. This is uvicorn's `http` option."""
        return _Connection(self, **arguments)

    def close_excess(self) -> None:
        """Close waiting connections while more are open than allowed."""
        limit = self.limits.connections
        while len(self.waiting) + len(self.serving) > limit and self.waiting:
            oldest, _ = self.waiting.popitem(last=False)
            oldest.abort("crowded")

    def close_slow(self, now: float) -> None:
        """Close connections that exceed a time limit. `now` is in monotonic seconds."""
        for connection in [*self.waiting, *self.serving]:
            if connection.is_late(now):
                connection.abort("slow")


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits of size and time."""

    def __init__(self, connections: _Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._open = connections
        self._started_at: float | None = None
        """When the head, or else what follows it, began. None between requests, where uvicorn's own
        keep-alive timeout applies."""
        self._in_head = True
        self._received = 0
        """Bytes of the head, or else of what follows it."""

    @property
    def _has_responded(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def is_late(self, now: float) -> bool:
        """Return whether the connection exceeds a time limit. `now` is in monotonic seconds."""
        if self._started_at is None:
            return False
        limits = self._open.limits
        waits_for_head = self._in_head or self._has_responded
        allowed = limits.head_seconds if waits_for_head else limits.request_seconds
        return now - self._started_at > allowed

    def abort(self, reason: str) -> None:
        """Close the connection at once, and count it under the reason."""
        metrics.CONNECTIONS_CUT.labels(reason).inc()
        self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.transport = self._responses = _ResponseTransport(transport)  # type: ignore[assignment]
        self._started_at = time.monotonic()
        self._open.waiting[self] = None
        self._open.close_excess()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.waiting.pop(self, None)
        self._open.serving.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._started_at is None:
            self._started_at = time.monotonic()
        self._received += len(data)
        super().data_received(data)
        limits = self._open.limits
        if self._in_head:
            if self._received > limits.head_bytes and not self.transport.is_closing():
                metrics.CONNECTIONS_CUT.labels("large").inc()
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()
        elif self._received > limits.request_bytes and not self._has_responded:
            self.abort("large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._received = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._received = 0
        self._started_at = time.monotonic()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self._has_responded:
            self._open.waiting.pop(self, None)
            self._open.serving.add(self)

    def on_response_complete(self) -> None:
        self._responses.end()
        super().on_response_complete()
        if self._has_responded:  # a pipelined request may already wait for its own response
            self._started_at = None
            self._open.serving.discard(self)
            if not self.transport.is_closing():
                self._open.waiting[self] = None


class _ResponseTransport:
    """A connection's transport. It sends the head of a response with the start of the body.

    uvicorn writes them one after the other: a system call more for each response.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        """Waits for the body. None before the head, empty after it."""

    def write(self, data: bytes) -> None:
        """Write data, or keep it if it is a head that a body may follow."""
        if self._head is None and not data.startswith(_CONTINUE):
            self._head = data
        elif self._head:
            self._transport.write(self._head + data)
            self._head = b""
        else:
            self._transport.write(data)

    def end(self) -> None:
        """End a response: the next write is a head again."""
        if self._head:  # without a body
            self._transport.write(self._head)
        self._head = None

    def close(self) -> None:
        """Close the connection after what is written."""
        self.end()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the connection closes."""
        return self._transport.is_closing()
