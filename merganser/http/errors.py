"""HTTP errors: every code and status, the body of an error response, and its line in the log."""

import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import structlog

from merganser.http.asgi import Headers

log = structlog.get_logger(__name__)

LOG_LINES_PER_SECOND = 20


class ErrorKind(Enum):
    """A code that clients can rely on, and its HTTP status."""

    MALFORMED = ("malformed", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    ORIGIN_NOT_ALLOWED = ("origin_not_allowed", 403)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    TIMEOUT = ("timeout", 408)
    """The client was too slow."""
    CONFLICT = ("conflict", 409)
    TOO_LARGE = ("too_large", 413)
    INVALID = ("invalid", 422)
    RATE_LIMITED = ("rate_limited", 429)
    INTERNAL = ("internal", 500)
    UNAVAILABLE = ("unavailable", 503)
    TOO_SLOW = ("timeout", 503)
    """The server was too slow."""
    RATE_LIMITED_RETRY = ("rate_limited", 503)
    """For clients that retry after 503, but not after 429."""

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status


class HttpError(Exception):
    """The error response to a request, or to one event of a batch.

    Args:
        kind: gives code and status.
        message: for the client.
        fields: why each field is invalid, by the field's name.
        headers: of the response, in addition to those of the kind.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        fields: Mapping[str, str] | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.fields = fields or {}
        self.event: Any = None
        """The event as the client sent it, if its dialect could not read it."""
        self._headers = headers

    @property
    def headers(self) -> Headers:
        """The headers of the response, without those of every response."""
        match self.kind:
            case ErrorKind.UNAVAILABLE:
                return [*self._headers, (b"retry-after", b"1")]
            case ErrorKind.UNAUTHORIZED:
                return [*self._headers, (b"www-authenticate", b'Bearer realm="merganser"')]
            case _:
                return [*self._headers]

    def body(self) -> dict[str, Any]:
        """Return the JSON body. Some clients read code and message at the top, some in `error`."""
        code = self.kind.code
        return {
            "code": code,
            "message": self.message,
            "error": {"code": code, "message": self.message, "fields": dict(self.fields)},
        }


def internal_error() -> HttpError:
    """Return the error for a defect of Merganser. Only the log says more."""
    return HttpError(ErrorKind.INTERNAL, "internal error: try again later")


class ErrorLog:
    """Writes a line to the log for each error response, but only so many each second.

    A refused client retries, and while Kafka is down every client does. The metrics count each
    error, the log shows a sample; the next line says how many were left out.
    """

    def __init__(self, lines_per_second: int = LOG_LINES_PER_SECOND) -> None:
        self._lines_per_second = lines_per_second
        self._second = 0
        self._written = 0
        self._left_out = 0

    def write(
        self,
        request_id: bytes,
        status: int,
        codes: Mapping[str, int] | None = None,
        now: float | None = None,
    ) -> None:
        """Write a line, unless this second has as many as allowed.

        Args:
            request_id: of the request; the response has it too.
            status: of the response; 200 for a batch of which some events were refused.
            codes: error codes, and the number of events that each refused.
            now: monotonic seconds.
        """
        second = int(time.monotonic() if now is None else now)
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == self._lines_per_second:
            self._left_out += 1
            return
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        log.info(
            "refused",
            request_id=request_id.decode(),
            status=status,
            **({"reasons": dict(codes)} if codes else {}),
            **({"lines_left_out": left_out} if left_out else {}),
        )
