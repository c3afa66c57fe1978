"""The gateway over HTTP: one connection, kept open, used by one thread."""

import gzip
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from merganser_client import exact_json
from merganser_client.event import Event
from merganser_client.verdict import Answer
from merganser_client.version import __version__

MOST_BYTES = 1 << 20
"""Of a body, unpacked; the gateway's default."""

ENVELOPE_BYTES = 1 << 10
"""Room in a body for what is around the events."""

_WORTH_PACKING = 1 << 10
_PATH = "/api/v1/batch"
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"merganser-client-python/{__version__}",
}


class Unreachable(Exception):
    """No answer came."""


class Gateway:
    """POSTs batches."""

    def __init__(self, endpoint: str, api_key: str, timeout: float) -> None:
        """Check the arguments; nothing is opened yet.

        Raises:
            ValueError: the endpoint is no URL of HTTP, or the key cannot be one.
        """
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("endpoint must be a URL like https://events.example.com")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("endpoint must have nothing but a scheme, host, port and path")
        self._key = exact_json.dumps(api_key)
        if not 0 < len(api_key) < len(self._key) <= ENVELOPE_BYTES // 2:
            raise ValueError("api_key is empty, or too long to be a key")
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = make(parts.hostname, parts.port, timeout=timeout)
        self._path = parts.path.rstrip("/") + _PATH

    def post(self, events: Sequence[Event]) -> Answer:
        """Send a batch.

        Raises:
            Unreachable: no answer came; the batch may have arrived all the same.
        """
        body, headers = self._body(events), _HEADERS
        if len(body) > _WORTH_PACKING:
            body = gzip.compress(body, compresslevel=1)
            headers = {**headers, "Content-Encoding": "gzip"}
        kept = self._connection.sock is not None
        try:
            try:
                response = self._send(body, headers)
            except ConnectionError:
                if not kept:
                    raise
                # The server has closed a connection that was idle, as servers do.
                self._connection.close()
                response = self._send(body, headers)
            return Answer(response.status, response.headers["Retry-After"], response.read())
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connection; `post` opens it again."""
        self._connection.close()

    def let_go(self) -> None:
        """After a fork, in the child: give up the connection, which is the parent's.

        Nothing else of it is touched: a thread of the parent may have been using it, and would
        never release here what it held.
        """
        if (sock := self._connection.sock) is not None:
            with suppress(OSError):
                os.close(sock.detach())

    def _send(self, body: bytes, headers: dict[str, str]) -> HTTPResponse:
        # A server may answer 413 and hang up halfway: what it said is still there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request("POST", self._path, body, headers)
        return self._connection.getresponse()

    def _body(self, events: Sequence[Event]) -> bytes:
        sent_at = datetime.now(timezone.utc).isoformat().encode()
        head = b'{"apiKey":' + self._key + b',"sentAt":"' + sent_at + b'","events":['
        return head + b",".join([event.json for event in events]) + b"]}"
