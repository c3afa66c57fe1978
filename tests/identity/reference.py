"""The definition of identity, over the whole list at once in a few lines.

Written from the definition, not from the code: it shares nothing with `merganser.identity.plan`.
"""

from collections.abc import Collection, Hashable, Iterable
from datetime import datetime
from typing import NamedTuple

NOBODY = {"", "null", "undefined", "none", "nil", "0", "anonymous", "guest", "[object object]"}
NOBODY |= {"00000000-0000-0000-0000-000000000000"}


class Told(NamedTuple):
    """One event of a history, ids as a client sent them."""

    guid: str
    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None


def grouping(history: Iterable[Told]) -> dict[str, Hashable]:
    """Whose each event is, by guid: a name of the group, the same for all events of one profile."""
    events = {event.guid: _without_nobody(event) for event in history}
    owner: dict[str, str] = {}
    for event in sorted(events.values(), key=lambda event: (event.occurred_at, event.guid)):
        if event.user_id and event.anonymous_id:
            owner.setdefault(event.anonymous_id, event.user_id)
    return {guid: _whose(event, owner) for guid, event in events.items()}


def admitted(event: Told, users: Collection[str], devices: Collection[str]) -> Told | None:
    """What is stored of an event, if anything, where these userIds and devices are suppressed."""
    bare = _without_nobody(event)
    if bare.user_id in users:
        return None
    if bare.anonymous_id not in devices:
        return event
    return event._replace(anonymous_id=None) if bare.user_id else None


def _whose(event: Told, owner: dict[str, str]) -> Hashable:
    if user_id := event.user_id or owner.get(event.anonymous_id or ""):
        return ("user", user_id)
    return ("anonymous", event.anonymous_id) if event.anonymous_id else None


def _without_nobody(event: Told) -> Told:
    user_id, anonymous_id = (
        None if (name or "").lower() in NOBODY else name
        for name in (event.user_id, event.anonymous_id)
    )
    return Told(event.guid, event.occurred_at, user_id, anonymous_id)
