"""An ingest server for tests: it accepts events as the real one does, or fails as a test says."""

import gzip
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    size: int

    @property
    def ids(self) -> list[str]:
        """The messageIds of its events."""
        return [event["messageId"] for event in self.body["events"]]


@dataclass(frozen=True)
class Reply:
    """What the server does with a request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    store: bool = True
    """Whether it stores the events."""
    disconnect: bool = False
    """Whether it closes the connection instead of responding."""
    delay: float = 0.0
    """Seconds before the response."""
    text: str | None = None
    """Replaces the body of the response."""


Behavior = Callable[[Request], Reply]


def accept(_: Request) -> Reply:
    return Reply()


def respond(status: int, text: str | None = None, **headers: str) -> Behavior:
    """Refuse each request with this status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Reply(status, named, store=False, text=text)


def accept_if(condition: Callable[[Request], bool], status: int) -> Behavior:
    """Refuse with this status each request that does not meet the condition."""
    return lambda request: accept(request) if condition(request) else respond(status)(request)


def disconnect(*, store: bool) -> Behavior:
    """Read the request, and close the connection without a response."""
    return lambda _: Reply(store=store, disconnect=True)


def respond_after(seconds: float) -> Behavior:
    return lambda _: Reply(delay=seconds)


class FakeIngest:
    """A server on a thread. `then` sets the behavior for the next requests, `behavior` for others.

    After `stop`, `start` listens on the same port again.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.behavior: Behavior = accept
        self.refusal: Callable[[dict[str, Any]], str | None] = lambda _: None
        """Returns the reason to refuse an event of an accepted batch."""
        self.requests: list[Request] = []
        self.stored: dict[str, dict[str, Any]] = {}
        """Events by messageId, each once, in order of arrival."""
        self.repeats = 0
        """Number of events that were received again after they were stored."""
        self.connections_opened = 0
        self._next: deque[Behavior] = deque()
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _create_handler(self))
        self.port = self._server.server_address[1]
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Close all connections, and refuse new ones."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def then(self, *behaviors: Behavior) -> None:
        with self._changed:
            self._next.extend(behaviors)

    def wait_for(self, condition: Callable[[], bool], within: float = 20) -> None:
        """Wait for a condition on `requests`, `stored` or `open_connections`."""
        with self._changed:
            assert self._changed.wait_for(condition, within), f"not within {within} s"

    # The handler calls these for each connection and each request.

    def add_connection(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)
            self.connections_opened += 1

    def remove_connection(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def handle(self, request: Request) -> tuple[Reply, bytes]:
        with self._changed:
            self.requests.append(request)
            behavior = self._next.popleft() if self._next else self.behavior
            reply = behavior(request)
            content = (
                self._store(request) if reply.store else {"code": "refused", "message": "as set"}
            )
            self._changed.notify_all()
        text = json.dumps(content) if reply.text is None else reply.text
        return reply, text.encode()

    def _store(self, request: Request) -> dict[str, Any]:
        results = []
        for event in request.body["events"]:
            reason = self.refusal(event)
            if reason is None:
                self.repeats += event["messageId"] in self.stored
                self.stored[event["messageId"]] = event
                results.append({"success": True, "event": {"guid": "evt_1"}})
            else:
                results.append({"success": False, "code": "invalid", "message": reason})
        return {"success": True, "events": results}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _create_handler(fake_ingest: FakeIngest) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            fake_ingest.add_connection(self.connection)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()
            fake_ingest.remove_connection(self.connection)

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
            request = Request(
                time.monotonic(), self.path, dict(self.headers), json.loads(body), len(body)
            )
            reply, content = fake_ingest.handle(request)
            time.sleep(reply.delay)
            if reply.disconnect:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    return Handler
