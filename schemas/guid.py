"""Guids: a prefix that names the kind, and a UUID made by the server.

The default is UUIDv7 (RFC 9562 §5.7): its leading 48 bits are the time, so new keys land at the
right edge of every index. UUIDv4 keys land everywhere, and inserting them slows as tables grow.
"""

import hashlib
import itertools
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

EVENT, EVENT_DATA, PROFILE, API_KEY = "evt_", "edt_", "pro_", "key_"

GuidVersion = Literal[4, 7]

_COUNTED = 12
"""Hexadecimal digits that a series counts in: the UUID's last group, 48 bits."""

_HIGHEST_COUNTED = 1 << 47
"""The highest of these bits. It is 0 in the first guid, so that counting up has room."""

_LAST_DIGITS = [f"{number:03x}" for number in range(0x1000)]
"""The last three of them: a series formats the other digits once for all of these."""


def uuid7(now_ms: int) -> str:
    """A UUIDv7 for a time in milliseconds since 1970, as 36 characters."""
    return _format7(now_ms, int.from_bytes(os.urandom(10)))


def time_of(prefix: str, guid: str) -> datetime | None:
    """The time in a guid of this kind; None if it has none, as UUIDv4."""
    try:
        found = uuid.UUID(guid.removeprefix(prefix))
        if found.version != 7:  # noqa: PLR2004 - the number is the version's name
            return None
        return datetime.fromtimestamp((found.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return None


def series(version: GuidVersion, prefix: str, now_ms: int) -> Iterator[str]:
    """Endless guids of one moment, ascending for UUIDv7, at a tenth of the cost of each alone.

    The first is random in all of UUIDv7's 74 bits but one, the next are counted up from there (RFC
    9562 §6.2, method 2), so that two series of one millisecond meet as seldom as two UUIDs do.
    """
    if version == 4:  # noqa: PLR2004 - the number is the version's name
        return (prefix + str(uuid.uuid4()) for _ in itertools.repeat(None))
    random = int.from_bytes(os.urandom(10)) & ~_HIGHEST_COUNTED
    first = prefix + _format7(now_ms, random)
    following = _count_up(first[:-_COUNTED], (random & _HIGHEST_COUNTED - 1) + 1)
    return itertools.chain((first,), itertools.chain.from_iterable(following))


def _count_up(head: str, start: int) -> Iterator[Iterator[str]]:
    """Return endless guids of one series, in parts that differ in their last digits."""
    high, low = divmod(start, len(_LAST_DIGITS))
    yield map(f"{head}{high:09x}".__add__, _LAST_DIGITS[low:])
    for next_high in itertools.count(high + 1):
        yield map(f"{head}{next_high:09x}".__add__, _LAST_DIGITS)


def repeatable(version: GuidVersion, prefix: str, at_ms: int | None, *parts: str) -> str:
    """The same guid for the same arguments, and another one for others.

    It looks like any other guid of its version: a UUIDv7 has the time that is given, so that keys
    land where those of their time do; all else is a hash.

    Args:
        version: of the UUID.
        prefix: kind of the guid.
        at_ms: a time that is the same when the guid is made again; without one keys land anywhere.
        parts: what the guid is of.
    """
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    digest = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    if version == 4:  # noqa: PLR2004 - the number is the version's name
        return prefix + str(uuid.UUID(int=digest, version=4))
    return prefix + _format7(digest >> 80 if at_ms is None else at_ms, digest)


def _format7(now_ms: int, random: int) -> str:
    bits = (
        (now_ms & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (random >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | (random & 0x3FFF_FFFF_FFFF_FFFF)
    )
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
