"""Events of the live page: what of a record it shows, and which of them a viewer wants to see."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from schemas import event as accepted_event
from schemas import refused_event
from schemas.event import InvalidEvent
from schemas.refused_event import RefusedEvent

MAX_PAIRS = 4
"""Keys and values of an event's data that are kept."""

MAX_TEXT = 64
"""Characters of each of them."""

_LATEST_MS = 253_402_300_799_000
"""The last second of the year 9999: a writer of a topic may claim a later time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the feed."""

    row: str
    """Names the event's row on a page."""
    at: datetime
    """By Kafka's clock."""
    key: str | None
    """The guid of the API key."""
    type: str | None
    user_id: str | None
    anonymous_id: str | None
    guid: str | None = None
    """None if the event was refused."""
    data: tuple[tuple[str, str], ...] = ()
    more_data: int = 0
    refusal: RefusedEvent | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a viewer wants to see. None: any."""

    key: str | None = None
    type: str | None = None
    id: str | None = None
    """A userId or an anonymousId."""

    def matches(self, entry: Entry) -> bool:
        """Return whether the viewer wants to see this one."""
        return (
            self.key in (None, entry.key)
            and self.type in (None, entry.type)
            and self.id in (None, entry.user_id, entry.anonymous_id)
        )


def read_accepted(record: Any) -> Entry | None:
    """Return the entry of a record of the topic of events; None if it is not an event."""
    try:
        event = accepted_event.decode(record.value or b"")
    except InvalidEvent:
        return None
    return Entry(
        event["guid"],
        _written_at(record),
        event["producerGuid"],
        event["type"],
        event["userId"],
        event["anonymousId"],
        event["guid"],
        tuple(
            (key[:MAX_TEXT], value[:MAX_TEXT])
            for key, value in islice(event["data"].items(), MAX_PAIRS)
        ),
        max(0, len(event["data"]) - MAX_PAIRS),
    )


def read_refused(record: Any) -> Entry | None:
    """Return the entry of a record of the topic of refused events; None if it has another form."""
    refusal = refused_event.decode(record.value)
    if refusal is None:
        return None
    return Entry(
        f"refused-{record.partition}-{record.offset}",
        _written_at(record),
        refusal.producer_guid,
        refusal.type,
        refusal.user_id,
        refusal.anonymous_id,
        refusal=refusal,
    )


def _written_at(record: Any) -> datetime:
    return datetime.fromtimestamp(min(max(record.timestamp, 0), _LATEST_MS) / 1000, UTC)
