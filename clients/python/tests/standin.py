"""A gateway for tests that takes events as ours does, or misbehaves as told."""

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
    """A request as it came."""

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
    """What to do with a request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    take: bool = True
    """Whether the events are stored."""
    cut: bool = False
    """Close the connection in place of an answer."""
    wait: float = 0.0
    """Seconds before the answer."""
    text: str | None = None
    """In place of the answer's body."""


Behaviour = Callable[[Request], Reply]


def takes(_: Request) -> Reply:
    return Reply()


def says(status: int, text: str | None = None, **headers: str) -> Behaviour:
    """Refuses each request with this status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Reply(status, named, take=False, text=text)


def takes_if(condition: Callable[[Request], bool], status: int) -> Behaviour:
    """Refuses with this status what does not fulfil the condition."""
    return lambda request: takes(request) if condition(request) else says(status)(request)


def cuts(*, take: bool) -> Behaviour:
    """Reads the request, and closes the connection without an answer."""
    return lambda _: Reply(take=take, cut=True)


def answers_after(seconds: float) -> Behaviour:
    return lambda _: Reply(wait=seconds)


class Standin:
    """Runs on a thread; `then` says how it behaves to the next requests, `behaviour` to others."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.behaviour: Behaviour = takes
        self.refuses: Callable[[dict[str, Any]], str | None] = lambda _: None
        """Why an event is refused, in a batch that is taken."""
        self.requests: list[Request] = []
        self.taken: dict[str, dict[str, Any]] = {}
        """By messageId, as the gateway stores each once, in order of arrival."""
        self.repeats = 0
        """How many events came that were stored already."""
        self.connections_made = 0
        self._next: deque[Behaviour] = deque()
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def connections_open(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be gone: close all connections, and refuse new ones."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def then(self, *behaviours: Behaviour) -> None:
        with self._changed:
            self._next.extend(behaviours)

    def until(self, condition: Callable[[], bool], within: float = 20) -> None:
        """Wait for something about `requests` or `taken`."""
        with self._changed:
            assert self._changed.wait_for(condition, within), f"not within {within} s"

    # Called for each connection and each request.

    def opened(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)
            self.connections_made += 1

    def closed(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def reply(self, request: Request) -> tuple[Reply, bytes]:
        with self._changed:
            self.requests.append(request)
            behaviour = self._next.popleft() if self._next else self.behaviour
            reply = behaviour(request)
            answer = self._take(request) if reply.take else {"code": "told", "message": "as told"}
            self._changed.notify_all()
        text = json.dumps(answer) if reply.text is None else reply.text
        return reply, text.encode()

    def _take(self, request: Request) -> dict[str, Any]:
        results = []
        for event in request.body["events"]:
            why = self.refuses(event)
            if why is None:
                self.repeats += event["messageId"] in self.taken
                self.taken[event["messageId"]] = event
                results.append({"success": True, "event": {"guid": "evt_1"}})
            else:
                results.append({"success": False, "code": "invalid", "message": why})
        return {"success": True, "events": results}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _handler(standin: Standin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            standin.opened(self.connection)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()
            standin.closed(self.connection)

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
            request = Request(
                time.monotonic(), self.path, dict(self.headers), json.loads(body), len(body)
            )
            reply, content = standin.reply(request)
            time.sleep(reply.wait)
            if reply.cut:
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
