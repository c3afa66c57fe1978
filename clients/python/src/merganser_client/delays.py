"""How long to wait before the next attempt: pure, given chance and time."""

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

MOST_RETRY_AFTER = 300.0
"""Seconds: a server that asks for more is asked again sooner."""


def delay(failures: int, first: float, longest: float, after: float, chance: float) -> float:
    """Seconds to wait: what the server asked for, and on top of it exponential, full jitter.

    Many clients that failed at one moment come back at many
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Args:
        failures: how many there were in a row, at least 1.
        first: the most to wait after the first failure.
        longest: the most to wait after any.
        after: what the server asked for.
        chance: from 0 to 1.
    """
    doublings = min(failures - 1, 32)
    return after + chance * min(longest, first * 2.0**doublings)


def retry_after(header: str | None, now: datetime) -> float:
    """The seconds of a Retry-After header (RFC 9110 §10.2.3); 0 where it says nothing."""
    if header is None:
        return 0.0
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header), MOST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:  # "-0000", which says that the zone is not known
        moment = moment.replace(tzinfo=timezone.utc)
    return min(max((moment - now).total_seconds(), 0.0), MOST_RETRY_AFTER)
