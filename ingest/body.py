"""A request's body: read within bounds of size and time, and unpacked."""

import asyncio
import zlib
from typing import Any

from runtime.ops import Receive
from runtime.refusals import Problem, Refused

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
        Refused: TOO_LARGE or TIMEOUT.
        Gone: the client hung up.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
            body = _chunk(message)
            _bound(len(body), most)
            if message.get("more_body"):
                longer = bytearray(body)
                while message.get("more_body"):
                    message = await receive()
                    longer += _chunk(message)
                    _bound(len(longer), most)
                body = bytes(longer)
            return body
    except TimeoutError:
        raise Refused(Problem.TIMEOUT, f"the body did not come within {seconds:g} s") from None


def unpack(raw: bytes, most: int) -> bytes:
    """The body, unpacked where gzip's magic bytes are, whatever the headers say.

    Raises:
        Refused: MALFORMED; TOO_LARGE when more than `most` bytes unpacked.
    """
    try:
        return _unpacked(raw, most) if raw.startswith(_GZIP_MAGIC) else raw
    except zlib.error:
        raise Refused(Problem.MALFORMED, "the body is not complete gzip") from None


def _chunk(message: Any) -> bytes:
    if message["type"] == "http.disconnect":
        raise Gone
    chunk: bytes = message.get("body", b"")
    return chunk


def _bound(length: int, most: int) -> None:
    if length > most:
        raise Refused(Problem.TOO_LARGE, f"the body has more than {most} bytes")


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
