"""Times as operators type them: in ISO 8601, or as an age."""

import re
from datetime import UTC, datetime, timedelta

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_time(text: str, now: datetime) -> datetime:
    """Parse `2026-11-24T10:00:00Z` (without a zone: UTC), or `90s`, `15m`, `2h`, `7d` before now.

    Raises:
        ValueError: it is neither, or an age that leads to before the year 1.
    """
    try:
        if age := _AGE.fullmatch(text):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(text.upper())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a time, such as 2026-11-24T10:00:00Z, nor an age, such as 2h"
        ) from None
