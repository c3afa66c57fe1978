"""Every way to refuse, and how each looks over HTTP: the one place for both (design §7)."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]


class Problem(Enum):
    """A code that clients can rely on, and its HTTP status."""

    MALFORMED = ("malformed", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    TIMEOUT = ("timeout", 408)
    CONFLICT = ("conflict", 409)
    TOO_LARGE = ("too_large", 413)
    INVALID = ("invalid", 422)
    RATE_LIMITED = ("rate_limited", 429)
    INTERNAL = ("internal", 500)
    UNAVAILABLE = ("unavailable", 503)
    TOO_SLOW = ("timeout", 503)
    TOO_SOON = ("rate_limited", 503)

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status


class Refused(Exception):
    """A request, or one event of a batch, that is not accepted."""

    def __init__(
        self,
        problem: Problem,
        message: str,
        fields: Mapping[str, str] | None = None,
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message
        self.fields = fields or {}
        self._headers = headers

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the status asks for beside the body."""
        match self.problem:
            case Problem.UNAVAILABLE:
                return [*self._headers, (b"retry-after", b"1")]
            case Problem.UNAUTHORIZED:
                return [*self._headers, (b"www-authenticate", b'Bearer realm="merganser"')]
            case _:
                return [*self._headers]

    def body(self) -> dict[str, Any]:
        """Code and message twice: some clients read the top, some the inner object."""
        code = self.problem.code
        return {
            "code": code,
            "message": self.message,
            "error": {"code": code, "message": self.message, "fields": dict(self.fields)},
        }


def defect() -> Refused:
    """For a mistake of ours: the log has it, the client is told no more."""
    return Refused(Problem.INTERNAL, "internal error: try again later")
