"""What rules see of an event: plain data."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from properties.values import write_time


class Occurrence(NamedTuple):
    """An event of a profile. Their order is that of (`at`, `guid`)."""

    at: int
    """occurredAt in microseconds since 1970."""
    guid: str
    type: str
    user_id: str | None
    ip_address: str | None
    data: Mapping[str, str]
    """Those keys of its data that rules ask for."""


Pick = Callable[[Occurrence], str | None]


def pick(column: str) -> Pick:
    """How to read a column (`rules.Column`) of an event; None where the event does not have it."""
    if column.startswith("data."):
        key = column.removeprefix("data.")
        return lambda event: event.data.get(key)
    return _COLUMNS[column]


_COLUMNS: dict[str, Pick] = {
    "type": lambda event: event.type,
    "userId": lambda event: event.user_id,
    "ipAddress": lambda event: event.ip_address,
    "occurredAt": lambda event: write_time(event.at),
}
