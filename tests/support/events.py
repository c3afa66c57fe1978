"""Create events for tests, with a default for each field."""

import itertools
from datetime import UTC, datetime, timedelta

from schemas.event import Event
from schemas.guid import EVENT, uuid7

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""A time for tests that need one; `at` counts seconds from here."""

_moments = itertools.count(1_700_000_000_000)


def event(
    user: str | None = None,
    anonymous: str | None = None,
    kind: str = "pageview",
    at: float = 0,
    **data: str,
) -> Event:
    """Return an event as ingest accepts it."""
    return {
        "guid": EVENT + uuid7(next(_moments)),
        "producerGuid": "key_test",
        "ipAddress": "192.0.2.1",
        "createdAt": NOON,
        "occurredAt": NOON + timedelta(seconds=at),
        "type": kind,
        "userId": user,
        "anonymousId": anonymous,
        "data": data,
    }
