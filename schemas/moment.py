"""Moments: with a zone, in the years that Python and Postgres both know."""

from datetime import UTC, datetime


def in_utc(moment: datetime) -> datetime:
    """Return the same time in UTC; a time without a zone is in UTC.

    The server's own zone must not change what an event means, and Postgres reads no offset beyond
    16 hours.

    Raises:
        ValueError: it lies outside the years 1 to 9999 there.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None
