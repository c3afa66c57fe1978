"""What rules see of an event: plain data."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from merganser.rulebook.values import LONGEST_VALUE, size, write_time


class Occurrence(NamedTuple):
    """An event of a profile. Their order is that of (`at`, `guid`)."""

    at: int
    """occurredAt in microseconds since 1970."""
    guid: str
    type: str
    user_id: str | None
    ip_address: str | None
    data: Mapping[str, str | None]
    """Those keys of its data that rules ask for; None for a value longer than `LONGEST_VALUE`."""


Pick = Callable[[Occurrence], str | None]
Has = Callable[[Occurrence], bool]


def pick(column: str) -> Pick:
    """How to read a column (`rules.Column`); None where the event lacks it or it is too long."""
    if column.startswith("data."):
        key = column.removeprefix("data.")
        return lambda event: event.data.get(key)
    return _COLUMNS[column]


def has(column: str) -> Has:
    """How to tell whether an event has a column, however long its text is."""
    if column.startswith("data."):
        key = column.removeprefix("data.")
        return lambda event: key in event.data
    if column == "ipAddress":
        return lambda event: event.ip_address is not None
    read = _COLUMNS[column]
    return lambda event: read(event) is not None


def _ip_address(event: Occurrence) -> str | None:
    """The only column without a limit in the table."""
    address = event.ip_address
    return None if address is None or size(address) > LONGEST_VALUE else address


_COLUMNS: dict[str, Pick] = {
    "type": lambda event: event.type,
    "userId": lambda event: event.user_id,
    "ipAddress": _ip_address,
    "occurredAt": lambda event: write_time(event.at),
}
