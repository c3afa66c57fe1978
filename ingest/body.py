"""A request's body: read within bounds of size and time, and unpacked."""

import asyncio
import zlib
from collections.abc import Awaitable, Generator
from typing import Any

from merganser.http.asgi import Message, Receive
from merganser.http.errors import ErrorKind, HttpError

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_MOST_MEMBERS = 100
"""Of a gzip file. Each costs a copy of the rest: a megabyte of empty ones would take seconds."""


class Gone(Exception):
    """The client hung up before the body was complete: there is nobody to answer."""


async def read(receive: Receive, most: int, seconds: float) -> bytes:
    """The raw body.

    Args:
        receive: ASGI's.
        most: bytes allowed.
        seconds: time allowed.

    Raises:
        HttpError: TOO_LARGE or TIMEOUT.
        Gone: the client hung up.
    """
    first = _AtOnce(receive())
    if first.message is not None and not first.message.get("more_body"):
        body = _chunk(first.message)  # all was there already, as nearly always
        _bound(len(body), most)
        return body
    try:
        async with asyncio.timeout(seconds):
            message = await first
            longer = bytearray(_chunk(message))
            _bound(len(longer), most)
            while message.get("more_body"):
                message = await receive()
                longer += _chunk(message)
                _bound(len(longer), most)
            return bytes(longer)
    except TimeoutError:
        raise HttpError(ErrorKind.TIMEOUT, f"the body did not come within {seconds:g} s") from None


class _AtOnce:
    """What a receive gives without waiting; to be awaited if that is nothing yet.

    A timer for each request costs as much as parsing its JSON.
    """

    def __init__(self, receiving: Awaitable[Message]) -> None:
        self._steps = receiving.__await__()
        self.message: Message | None = None
        try:
            self._waited_for = next(self._steps)
        except StopIteration as end:
            self.message = end.value

    def __await__(self) -> Generator[Any, Any, Message]:
        """Go on where it had to wait."""
        if self.message is None:
            try:
                yield self._waited_for
            except BaseException:  # a cancellation, as a rule
                self._steps.close()
                raise
            self.message = yield from self._steps
        return self.message


def unpack(raw: bytes, most: int) -> bytes:
    """The body, unpacked where gzip's magic bytes are, whatever the headers say.

    Raises:
        HttpError: MALFORMED; TOO_LARGE when more than `most` bytes unpacked.
    """
    try:
        return _unpacked(raw, most) if raw.startswith(_GZIP_MAGIC) else raw
    except zlib.error:
        raise HttpError(ErrorKind.MALFORMED, "the body is not complete gzip") from None


def _chunk(message: Any) -> bytes:
    if message["type"] == "http.disconnect":
        raise Gone
    chunk: bytes = message.get("body", b"")
    return chunk


def _bound(length: int, most: int) -> None:
    if length > most:
        raise HttpError(ErrorKind.TOO_LARGE, f"the body has more than {most} bytes")


def _unpacked(raw: bytes, most: int) -> bytes:
    """All members of a gzip file, never more than `most` bytes of memory for a bomb."""
    unpacked = bytearray()
    for _ in range(_MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        unpacked += member.decompress(raw, most + 1 - len(unpacked))
        _bound(len(unpacked), most)
        if not member.eof:
            break
        raw = member.unused_data
        if not raw:
            return bytes(unpacked)
    raise zlib.error
