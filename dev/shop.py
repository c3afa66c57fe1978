"""A small shop on this machine whose page uses our own client: `make run` opens it."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from dev.stack import StackInfo

USUAL_PORT = 8082

_PAGE = Path(__file__).with_name("shop.html")


@contextmanager
def opened(info: StackInfo) -> Iterator[str]:
    """Serve the shop for the length of a `with` block; where it is."""
    page = _PAGE.read_text()
    for name, value in {
        "ingest": info.ingest_url,
        "api": info.api_url,
        "key": info.api_key,
    }.items():
        page = page.replace("{{" + name + "}}", value)

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path.partition("?")[0] == "/"
            self.send_response(HTTPStatus.OK if there else HTTPStatus.NOT_FOUND)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            if there:
                self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Nobody wants to read of each request."""

    with _listening(Shop) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def _listening(shop: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """On the usual port, or where somebody has it on one that the system gives."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", USUAL_PORT), shop)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), shop)
