"""Options that take a time: in ISO 8601, or as an age."""

from datetime import UTC, datetime

import typer

from merganser.admin.times import parse_time


def time_option(text: str) -> datetime:
    """Parse an option's value, for typer.

    Raises:
        typer.BadParameter: it is neither a time nor an age.
    """
    try:
        return parse_time(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
