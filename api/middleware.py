"""What is around every answer: CORS, an ETag, a refusal of what was raised, a measurement."""

import hashlib
import re
import time
from collections.abc import Mapping

import structlog

from api.errors import answered
from merganser.http import cors, request_ids
from merganser.http.asgi import App, Headers, Message, Receive, Scope, Send, send_response
from merganser.http.errors import ErrorLog
from merganser.runtime import metrics

_SLASHES = re.compile("/{2,}")
_TAG = re.compile(rb'"[^"]*"')
_CACHED = (b"cache-control", b"private, no-cache")
_OK, _NOT_MODIFIED, _REFUSED = 200, 304, 400
_NO_CONTENT = (204, _NOT_MODIFIED)


class Envelope:
    """Wraps an application whose answers are each in one piece."""

    def __init__(self, inner: App) -> None:
        self._inner = inner
        self._error_log = ErrorLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        start = time.monotonic()
        headers = dict(scope["headers"])
        request_id = request_ids.request_id(headers)
        around = cors.response_headers(
            headers, b"ETag, Retry-After, X-Request-Id", credentials=False
        )
        around.append((request_ids.HEADER, request_id))
        if scope["method"] == "OPTIONS":
            asked = cors.preflight_headers(
                headers, b"GET, DELETE, OPTIONS", b"authorization, if-none-match, x-request-id"
            )
            await send_response(send, 204, [*around, *asked], None)
            return
        # The server leaves the body out of an answer to HEAD.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        inner = {**scope, "method": method, "path": _path(scope["path"])}
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            status, own, body = await self._answer(inner, receive)
        if status >= _REFUSED:
            self._error_log.write(request_id, status)
        if method == "GET" and status == _OK:
            tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
            own += [(b"etag", tag), _CACHED]
            if _known(headers, tag):
                own = [(name, value) for name, value in own if name != b"content-type"]
                status, body = _NOT_MODIFIED, b""
        content = None if status in _NO_CONTENT else body
        await send_response(send, status, [*around, *own], content)
        route = getattr(inner.get("route"), "path", "unknown")
        seconds = time.monotonic() - start
        metrics.API_REQUEST_SECONDS.labels(route, str(status)).observe(seconds)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Headers, bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        try:
            await self._inner(scope, receive, keep)
        except Exception as error:  # noqa: BLE001 - each is answered, and logged where it is ours
            answer = answered(error)
            return answer.status_code, _own(answer.raw_headers), bytes(answer.body)
        head, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts)
        return head["status"], _own(head["headers"]), body


def _own(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name != b"content-length"]


def _path(path: str) -> str:
    """Clients join host and path carelessly: doubled and trailing slashes mean nothing."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _known(headers: Mapping[bytes, bytes], tag: bytes) -> bool:
    """Whether the client has this very answer; `W/` before a tag makes no difference here."""
    named = headers.get(b"if-none-match", b"")
    return named.strip() == b"*" or tag in _TAG.findall(named)
