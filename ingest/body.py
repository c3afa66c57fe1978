"""Read a request's body within limits of size and time, and decompress it."""

import asyncio
import zlib
from collections.abc import Awaitable, Generator
from typing import Any

from merganser.http.asgi import Message, Receive
from merganser.http.errors import ErrorKind, HttpError

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_MAX_MEMBERS = 100
"""Of a gzip file. Each member copies the rest of the file, so a megabyte of empty ones would take
seconds."""


class ClientDisconnected(Exception):
    """The client disconnected before the body was complete, so it gets no response."""


async def read(receive: Receive, max_bytes: int, seconds: float) -> bytes:
    """Return the raw body.

    Args:
        receive: the function of ASGI.
        max_bytes: of the body.
        seconds: time limit.

    Raises:
        HttpError: TOO_LARGE or TIMEOUT.
        ClientDisconnected: before the body was complete.
    """
    first = _FirstMessage(receive())
    if first.message is not None and not first.message.get("more_body"):
        whole = _chunk(first.message)  # the usual case
        _check_size(len(whole), max_bytes)
        return whole
    try:
        async with asyncio.timeout(seconds):
            message = await first
            body = bytearray(_chunk(message))
            _check_size(len(body), max_bytes)
            while message.get("more_body"):
                message = await receive()
                body += _chunk(message)
                _check_size(len(body), max_bytes)
            return bytes(body)
    except TimeoutError:
        raise HttpError(
            ErrorKind.TIMEOUT, f"the body did not arrive within {seconds:g} s"
        ) from None


class _FirstMessage:
    """The first message if it has arrived already; otherwise an awaitable for it.

    This avoids a timer for most requests, which would cost as much as parsing the JSON.
    """

    def __init__(self, receiving: Awaitable[Message]) -> None:
        self._steps = receiving.__await__()
        self.message: Message | None = None
        try:
            self._waited_for = next(self._steps)
        except StopIteration as end:
            self.message = end.value

    def __await__(self) -> Generator[Any, Any, Message]:
        """Continue waiting for the message."""
        if self.message is None:
            try:
                yield self._waited_for
            except BaseException:  # usually a cancellation
                self._steps.close()
                raise
            self.message = yield from self._steps
        return self.message


def unpack(raw: bytes, max_bytes: int) -> bytes:
    """Return the body, decompressed if it starts as gzip does. Headers do not matter.

    Raises:
        HttpError: MALFORMED; TOO_LARGE if the decompressed body has more than `max_bytes`.
    """
    try:
        return _decompress(raw, max_bytes) if raw.startswith(_GZIP_MAGIC) else raw
    except zlib.error:
        raise HttpError(ErrorKind.MALFORMED, "the body is not complete gzip") from None


def _chunk(message: Any) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    chunk: bytes = message.get("body", b"")
    return chunk


def _check_size(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise HttpError(ErrorKind.TOO_LARGE, f"the body has more than {max_bytes} bytes")


def _decompress(raw: bytes, max_bytes: int) -> bytes:
    """Decompress all members of a gzip file, with at most `max_bytes` of memory for a gzip bomb."""
    unpacked = bytearray()
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        unpacked += member.decompress(raw, max_bytes + 1 - len(unpacked))
        _check_size(len(unpacked), max_bytes)
        if not member.eof:
            break
        raw = member.unused_data
        if not raw:
            return bytes(unpacked)
    raise zlib.error
