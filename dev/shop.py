"""The demo shop of `make run`: a web page that sends events with the JavaScript client."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from dev.stack import StackInfo

PORT = 8082
"""Another one is used if this one is taken."""

_PAGE = Path(__file__).with_name("shop.html")


@contextmanager
def serve_shop(info: StackInfo) -> Iterator[str]:
    """Serve the shop for the length of a `with` block and yield its URL."""
    page = _PAGE.read_text()
    for name, value in {
        "ingest": info.ingest_url,
        "api": info.api_url,
        "key": info.api_key,
    }.items():
        page = page.replace("{{" + name + "}}", value)

    class ShopHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exists = self.path.partition("?")[0] == "/"
            self.send_response(HTTPStatus.OK if exists else HTTPStatus.NOT_FOUND)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            if exists:
                self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing: `make run` shows other things on the terminal."""

    with _start_server(ShopHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def _start_server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)
