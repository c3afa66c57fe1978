"""What the operator of a run corrects: wrong links, and people who want to be forgotten."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.history import ClientEvent
from tests.identity.reference import SentEvent, without_suppressed


class Forgotten(NamedTuple):
    """A person that `merganser forget` erased."""

    profile: str
    """Guid."""
    user_id: str | None
    anonymous_ids: frozenset[str]
    """Those of the profile before the command."""
    moved: frozenset[str]
    """Those of them that belonged to another user after the command."""
    link_changes: int
    """Number of the link changes before the command."""


@dataclass
class Corrections:
    """All corrections of one run."""

    ignored_links: dict[str, str] = field(default_factory=dict)
    """The anonymousId of each event that the operator has said is not a link, by guid."""
    unknown_links: set[str] = field(default_factory=set)
    """Events of which a killed command may have done the last change. They are no longer links, as
    their anonymousId is suppressed or they are erased."""
    changed_anonymous_ids: list[str] = field(default_factory=list)
    """The anonymousId of each changed link, in the order of the changes."""
    unlinks: int = 0
    relinks: int = 0
    killed: int = 0
    """Commands that were killed and run again."""
    forgotten: list[Forgotten] = field(default_factory=list)

    @property
    def suppressed(self) -> "Suppressed":
        """The ids that must be suppressed, unless an anonymousId changed its owner meanwhile."""
        return Suppressed(
            {person.user_id for person in self.forgotten if person.user_id},
            {name for person in self.forgotten for name in person.anonymous_ids - person.moved},
        )


class Suppressed(NamedTuple):
    """Ids of forgotten people."""

    user_ids: Collection[str] = frozenset()
    anonymous_ids: Collection[str] = frozenset()

    def admit(self, event: ClientEvent) -> ClientEvent | None:
        """Return the event as it must be stored, or None if it must not be stored."""
        sent = SentEvent("", event.occurred_at, event.user_id, event.anonymous_id)
        stored = without_suppressed(sent, self.user_ids, self.anonymous_ids)
        if stored is None:
            return None
        if stored.anonymous_id == event.anonymous_id:
            return event
        data = {k: v for k, v in event.stored_data().items() if v != event.anonymous_id}
        return event._replace(anonymous_id=None, data=data)
