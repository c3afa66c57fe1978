"""How long to wait before a retry: pure functions of the time and a random number."""

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 300.0
"""The most seconds of a `Retry-After` header that the client respects."""


def compute_delay(
    failures: int, first: float, longest: float, retry_after: float, random: float
) -> float:
    """Return the seconds to wait: `retry_after`, plus an exponential delay with full jitter.

    The jitter spreads the retries of many clients that failed at the same moment
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Args:
        failures: failures in a row, at least 1.
        first: the most seconds to wait after the first failure.
        longest: the most seconds to wait after any failure.
        retry_after: seconds that the server asked for.
        random: a random number from 0 to 1.
    """
    doublings = min(failures - 1, 32)
    return retry_after + random * min(longest, first * 2.0**doublings)


def parse_retry_after(header: str | None, now: datetime) -> float:
    """Return the seconds of a Retry-After header (RFC 9110 §10.2.3); 0 if it is missing or invalid.

    Args:
        header: a number of seconds, or a date.
        now: what a date is compared with, in UTC.
    """
    if header is None:
        return 0.0
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:  # the zone "-0000" means that the zone is unknown
        moment = moment.replace(tzinfo=timezone.utc)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER)
