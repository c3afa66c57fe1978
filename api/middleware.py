"""What every response gets: CORS headers, an ETag, an error response, a measurement."""

import hashlib
import re
import time
from collections.abc import Mapping

import structlog

from api.errors import error_response
from merganser.http import cors, request_ids
from merganser.http.asgi import App, Headers, Message, Receive, Scope, Send, send_response
from merganser.http.errors import ErrorLog
from merganser.runtime import metrics

_SLASHES = re.compile("/{2,}")
_TAG = re.compile(rb'"[^"]*"')
_CACHED = (b"cache-control", b"private, no-cache")
_OK, _NOT_MODIFIED, _FIRST_ERROR = 200, 304, 400
_NO_CONTENT = (204, _NOT_MODIFIED)


class ResponseMiddleware:
    """Wraps an application whose responses fit into memory."""

    def __init__(self, inner: App) -> None:
        self._inner = inner
        self._error_log = ErrorLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        start = time.monotonic()
        headers = dict(scope["headers"])
        request_id = request_ids.request_id(headers)
        common = cors.response_headers(
            headers, b"ETag, Retry-After, X-Request-Id", credentials=False
        )
        common.append((request_ids.HEADER, request_id))
        if scope["method"] == "OPTIONS":
            preflight = cors.preflight_headers(
                headers,
                b"GET, POST, DELETE, OPTIONS",
                b"authorization, if-none-match, x-request-id",
            )
            await send_response(send, 204, [*common, *preflight], None)
            return
        # uvicorn leaves out the body of a response to HEAD.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        inner = {**scope, "method": method, "path": _normalize_path(scope["path"])}
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            status, own, body = await self._call(inner, receive)
        if status >= _FIRST_ERROR:
            self._error_log.write(request_id, status)
        if method == "GET" and status == _OK:
            tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
            own.append((b"etag", tag))
            if not any(name == _CACHED[0] for name, _ in own):
                own.append(_CACHED)
            if _matches_etag(headers, tag):
                own = [(name, value) for name, value in own if name != b"content-type"]
                status, body = _NOT_MODIFIED, b""
        content = None if status in _NO_CONTENT else body
        await send_response(send, status, [*common, *own], content)
        route = getattr(inner.get("route"), "path", "unknown")
        seconds = time.monotonic() - start
        metrics.API_REQUEST_SECONDS.labels(route, str(status)).observe(seconds)

    async def _call(self, scope: Scope, receive: Receive) -> tuple[int, Headers, bytes]:
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        try:
            await self._inner(scope, receive, collect)
        except Exception as error:  # noqa: BLE001 - each becomes a response, and bugs are logged
            response = error_response(error)
            return response.status_code, _without_length(response.raw_headers), bytes(response.body)
        head, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts)
        return head["status"], _without_length(head["headers"]), body


def _without_length(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name != b"content-length"]


def _normalize_path(path: str) -> str:
    """Drop doubled and trailing slashes: clients often join host and path carelessly."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _matches_etag(headers: Mapping[bytes, bytes], tag: bytes) -> bool:
    """Return whether the client has this response already; a `W/` before the tag is ignored."""
    known = headers.get(b"if-none-match", b"")
    return known.strip() == b"*" or tag in _TAG.findall(known)
