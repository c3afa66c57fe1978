"""The outcomes that a bad value can have."""

from dataclasses import dataclass
from datetime import datetime

Value = str | datetime | dict[str, str] | None


@dataclass(frozen=True)
class Stored:
    """Postgres has exactly this value; None is NULL, or no row of `eventData`."""

    value: Value


@dataclass(frozen=True)
class Refused:
    """The response is a 4xx that names the field; in a batch, only for this event."""

    field: str | None
    code: str = "invalid"


@dataclass(frozen=True)
class DeadLetter:
    """The record becomes a dead letter with this reason; its error names the field."""

    field: str
    reason: str = "unreadable"


@dataclass(frozen=True)
class RefusedByPostgres:
    """Postgres refuses the INSERT with this SQLSTATE."""

    sqlstate: str


@dataclass(frozen=True)
class Unresolved:
    """The row stays unresolved because its ids name nobody; it does not delay other rows."""


Outcome = Stored | Refused | DeadLetter | RefusedByPostgres | Unresolved
