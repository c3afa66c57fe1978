"""Tracebacks for logs, without values.

Messages of exceptions from Python, psycopg and pydantic quote values, and tracebacks may show local
variables. Either could be a key or an event.
"""

import traceback
from collections.abc import Iterator

import structlog

from merganser.runtime.postgres import describe


def without_values(exc_info: structlog.typing.ExcInfo) -> str:
    """Return a traceback with files, lines and code only.

    Args:
        exc_info: what `sys.exc_info()` returns.
    """
    return "\n".join(_format(exc_info[1]))


def _format(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause:
        yield from _format(cause)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield from (frame.rstrip() for frame in traceback.format_tb(error.__traceback__))
    yield describe(error)
    if isinstance(error, BaseExceptionGroup):
        for number, part in enumerate(error.exceptions, start=1):
            yield from (f"  {number} | {line}" for line in _format(part))
