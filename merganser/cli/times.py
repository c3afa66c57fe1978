"""How a moment is given to a command: as ISO 8601, or as how long ago it was."""

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, now: datetime) -> datetime:
    """Read `2026-11-24T10:00:00Z` (without a zone: UTC), or `90s`, `15m`, `2h`, `7d` before now.

    Raises:
        ValueError: it is neither.
    """
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    read = datetime.fromisoformat(text.upper())
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def given(text: str) -> datetime:
    """The same for an option of a command.

    Raises:
        typer.BadParameter: it is no moment.
    """
    try:
        return moment(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a time, such as 2026-11-24T10:00:00Z, nor an age, such as 2h"
        ) from None
