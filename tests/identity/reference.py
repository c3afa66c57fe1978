"""The definition of identity, applied to all events at once.

It shares no code with `merganser.identity.plan`.
"""

from collections.abc import Collection, Hashable, Iterable
from datetime import datetime
from typing import NamedTuple

NOBODY = {"", "null", "undefined", "none", "nil", "0", "anonymous", "guest", "[object object]"}
NOBODY |= {"00000000-0000-0000-0000-000000000000"}


class SentEvent(NamedTuple):
    """The ids and time of an event as a client sent them."""

    guid: str
    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None
    received_at: datetime | None = None
    """When the gateway received it, if it came over a publishable key."""

    @property
    def link_order(self) -> tuple[datetime, datetime, str]:
        """The smallest one of an anonymousId's links decides."""
        return self.received_at or self.occurred_at, self.occurred_at, self.guid


def grouping(
    history: Iterable[SentEvent], ignored: Collection[str] = frozenset()
) -> dict[str, Hashable]:
    """Return the group of each event, by guid; events of one profile have the same group.

    The history may have an event several times, with other times of receipt. Events whose guid is
    in `ignored` are not links.
    """
    events = [_without_nobody(event) for event in history]
    owner: dict[str, str] = {}
    for event in sorted(events, key=lambda event: event.link_order):
        if event.user_id and event.anonymous_id and event.guid not in ignored:
            owner.setdefault(event.anonymous_id, event.user_id)
    return {event.guid: _group_of(event, owner) for event in events}


def without_suppressed(
    event: SentEvent, users: Collection[str], devices: Collection[str]
) -> SentEvent | None:
    """Return an event without suppressed ids, or None if it is not stored.

    Args:
        event: as a client sent it.
        users: suppressed userIds.
        devices: suppressed anonymousIds.
    """
    meaningful = _without_nobody(event)
    if meaningful.user_id in users:
        return None
    if meaningful.anonymous_id not in devices:
        return event
    return event._replace(anonymous_id=None) if meaningful.user_id else None


def _group_of(event: SentEvent, owner: dict[str, str]) -> Hashable:
    if user_id := event.user_id or owner.get(event.anonymous_id or ""):
        return ("user", user_id)
    return ("anonymous", event.anonymous_id) if event.anonymous_id else None


def _without_nobody(event: SentEvent) -> SentEvent:
    user_id, anonymous_id = (
        None if (name or "").lower() in NOBODY else name
        for name in (event.user_id, event.anonymous_id)
    )
    return event._replace(user_id=user_id, anonymous_id=anonymous_id)
