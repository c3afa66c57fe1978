"""The generator of HTTP load, against a real server."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from dev.bench import load

REQUESTS = [load.request("/", b"{}", "KEY")]


class Handler(BaseHTTPRequestHandler):
    """Answers with a body, and counts requests."""

    protocol_version = "HTTP/1.1"
    status = 200
    received = 0

    def do_POST(self) -> None:
        type(self).received += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving(status: int) -> Iterator[tuple[type[Handler], int]]:
    handler = type("Counting", (Handler,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield handler, server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_load_counts_all_answers_and_the_growth_of_samples() -> None:
    samples = iter([{"cpu": 1.0}, {"cpu": 3.0}])
    with serving(200) as (handler, port):
        driven = load.drive(
            port,
            REQUESTS,
            connections=2,
            seconds=0.2,
            warmup=0.1,
            sample=lambda: next(samples),
        )

    assert driven.total == handler.received
    assert 0 < driven.requests <= driven.total
    assert driven.sampled == {"cpu": 2.0}
    assert driven.microseconds_each(events=100) == {"cpu": pytest.approx(2e4 / driven.requests)}


def test_an_error_of_the_server_ends_the_load() -> None:
    with serving(503) as (_, port), pytest.raises(RuntimeError, match=r"HTTP/1\.1 503"):
        load.drive(port, REQUESTS, connections=1, seconds=0.2, warmup=0.1)
