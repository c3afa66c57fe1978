"""A line in the log for a refused request, but never a flood of them.

A client that is refused tries again, and when Kafka is away all of them are: the metrics count
each, the log shows some.
"""

import time
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)

MOST = 20
"""Lines a second."""


class RefusalLog:
    """At most so many lines a second; the next line says how many there would have been more."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._second = 0
        self._written = 0
        self._left_out = 0

    def refused(
        self,
        request_id: bytes,
        status: int,
        reasons: Mapping[str, int] | None = None,
        now: float | None = None,
    ) -> None:
        """Tell of a request of which something was refused.

        Args:
            request_id: as the answer has it.
            status: the answer's.
            reasons: error codes, and how many events each refused. No word of the client's.
            now: monotonic seconds.
        """
        second = int(time.monotonic() if now is None else now)
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == self._most:
            self._left_out += 1
            return
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        log.info(
            "refused",
            request_id=request_id.decode(),
            status=status,
            **({"reasons": dict(reasons)} if reasons else {}),
            **({"lines_left_out": left_out} if left_out else {}),
        )
