"""What logs say of an exception: where it came from and its kind, not what was in hand (§8).

Python, psycopg and pydantic put the value at fault into an exception's message, and a traceback may
show local variables: keys and events.
"""

import traceback
from collections.abc import Iterator

import structlog

from merganser.runtime.postgres import describe


def without_values(exc_info: structlog.typing.ExcInfo) -> str:
    """A traceback of files, lines and code alone.

    Args:
        exc_info: as of `sys.exc_info()`.
    """
    return "\n".join(_told(exc_info[1]))


def _told(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause:
        yield from _told(cause)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield from (frame.rstrip() for frame in traceback.format_tb(error.__traceback__))
    yield describe(error)
    if isinstance(error, BaseExceptionGroup):
        for number, part in enumerate(error.exceptions, start=1):
            yield from (f"  {number} | {line}" for line in _told(part))
