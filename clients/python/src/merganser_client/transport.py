"""HTTP requests to the ingest server: one connection, kept alive, used by one thread."""

import gzip
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from merganser_client import exact_json
from merganser_client.event import Event
from merganser_client.response import Response
from merganser_client.version import __version__

MAX_BODY_BYTES = 1 << 20
"""The most bytes of an uncompressed body: the default limit of ingest."""

ENVELOPE_BYTES = 1 << 10
"""Bytes of a body that are reserved for what surrounds the events."""

_MIN_GZIP_BYTES = 1 << 10
_PATH = "/api/v1/batch"
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"merganser-client-python/{__version__}",
}


class Unreachable(Exception):
    """The server did not respond."""


class Transport:
    """POSTs batches of events."""

    def __init__(self, endpoint: str, api_key: str, timeout: float) -> None:
        """Check the arguments. `post` opens the connection.

        Raises:
            ValueError: the endpoint is not an HTTP URL, or the key is empty or too long.
        """
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("endpoint must be a URL such as https://events.example.com")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("endpoint may have only a scheme, a host, a port and a path")
        self._api_key = api_key
        self._key_json = exact_json.dumps(api_key)
        if not 0 < len(api_key) < len(self._key_json) <= ENVELOPE_BYTES // 2:
            raise ValueError(f"api_key must have 1 to {ENVELOPE_BYTES // 2 - 2} characters")
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = connect(parts.hostname, parts.port, timeout=timeout)
        self._path = parts.path.rstrip("/") + _PATH

    def post(self, events: Sequence[Event]) -> Response:
        """Send a batch and return the server's response.

        Raises:
            Unreachable: no response came. The server may have stored the batch nevertheless.
        """
        body, headers = self._body(events), _HEADERS
        if len(body) > _MIN_GZIP_BYTES:
            body = gzip.compress(body, compresslevel=1)
            headers = {**headers, "Content-Encoding": "gzip"}
        reused = self._connection.sock is not None
        try:
            try:
                response = self._send(body, headers)
            except ConnectionError:
                if not reused:
                    raise
                # Servers close idle connections: this is not a failure yet.
                self._connection.close()
                response = self._send(body, headers)
            return Response(response.status, response.headers["Retry-After"], response.read())
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def redact(self, text: str) -> str:
        """Return the text without the API key, for logs: a server may repeat it in a message."""
        return text.replace(self._api_key, "[api_key]")

    def close(self) -> None:
        """Close the connection; `post` opens it again."""
        self._connection.close()

    def release_after_fork(self) -> None:
        """Close the child's copy of the parent's socket; call it in the child.

        It touches nothing else: a thread of the parent may have held a lock at the time of the
        fork, and the child's copy of that lock is never released.
        """
        if (sock := self._connection.sock) is not None:
            with suppress(OSError):
                os.close(sock.detach())

    def _send(self, body: bytes, headers: dict[str, str]) -> HTTPResponse:
        # A server may respond with 413 and close the connection before it has read the whole body.
        # Its response can be read nevertheless.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request("POST", self._path, body, headers)
        return self._connection.getresponse()

    def _body(self, events: Sequence[Event]) -> bytes:
        sent_at = datetime.now(timezone.utc).isoformat().encode()
        head = b'{"apiKey":' + self._key_json + b',"sentAt":"' + sent_at + b'","events":['
        return head + b",".join([event.json for event in events]) + b"]}"
