"""The demo shop of `make run`: a web page that sends events with the JavaScript client.

The page has a publishable key, which only sends events. The shop's server has the secret key, and
reads the visitor's profile for the page.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import httpx

from dev.stack import StackInfo

PORT = 8083
"""Another one is used if this one is taken."""

_PAGE = Path(__file__).with_name("shop.html")


@contextmanager
def serve_shop(info: StackInfo) -> Iterator[str]:
    """Serve the shop for the length of a `with` block and yield its URL."""
    page = _PAGE.read_text()
    for name, value in {
        "ingest": info.ingest_url,
        "key": info.publishable_key,
        "console": info.console_url,
    }.items():
        page = page.replace("{{" + name + "}}", value)

    class ShopHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            match url.path:
                case "/":
                    self._respond(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())
                case "/profiles":
                    self._respond(*_read_profiles(info, url.query))
                case _:
                    self._respond(HTTPStatus.NOT_FOUND, "text/plain", b"")

        def _respond(self, status: int, media_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing: `make run` shows other things on the terminal."""

    with _start_server(ShopHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def _read_profiles(info: StackInfo, query: str) -> tuple[int, str, bytes]:
    """Return the read API's status, media type and response."""
    try:
        response = httpx.get(
            f"{info.api_url}/api/v1/profiles?{query}",
            headers={"authorization": f"Bearer {info.api_key}"},
        )
    except httpx.HTTPError:
        return HTTPStatus.BAD_GATEWAY, "application/json", b"{}"
    return response.status_code, "application/json", response.content


def _start_server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)
