"""What a way in must do with a bad value."""

from dataclasses import dataclass
from datetime import datetime

Value = str | datetime | dict[str, str] | None


@dataclass(frozen=True)
class Stored:
    """It is in Postgres, exactly so; None is NULL, or no row of data."""

    value: Value


@dataclass(frozen=True)
class Refused:
    """A clear 4xx, or within a batch the same for that event alone."""

    field: str | None
    code: str = "invalid"


@dataclass(frozen=True)
class Dead:
    """A dead letter with this reason and, in its error, the field."""

    field: str
    reason: str = "unreadable"


@dataclass(frozen=True)
class Denied:
    """Postgres itself refuses the INSERT, and its writer hears of it."""

    sqlstate: str


@dataclass(frozen=True)
class Unresolved:
    """The row stays as it is, counted and never in the way: it names nobody."""


Outcome = Stored | Refused | Dead | Denied | Unresolved
