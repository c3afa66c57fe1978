"""An in-memory replacement of `merganser.identity.store`, for tests of the plan."""

import itertools
from collections.abc import Collection, Iterable, Sequence

from merganser.identity.plan import (
    AnonymousId,
    EventIds,
    Known,
    Link,
    Merge,
    Plan,
    make_plan,
    make_unlink_plan,
)
from schemas.ids import NOBODY, somebody
from tests.identity.reference import SentEvent


class MemoryStore:
    """The content of the tables; `receive` changes it as a plan says."""

    def __init__(
        self, suppressed: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset())
    ) -> None:
        self.suppressed = suppressed
        """Suppressed userIds and anonymousIds."""
        self.placeholders: Collection[str] = frozenset()
        self.profiles: dict[str, str | None] = {}
        self.anonymous_ids: dict[str, AnonymousId] = {}
        self.events: dict[str, tuple[EventIds, str | None]] = {}
        self._numbers = itertools.count()
        self.ignored: set[str] = set()
        """Guids of events that are not links."""

    def receive(self, batch: Iterable[SentEvent]) -> Plan:
        """Make a plan from what is known of the ids of a batch, apply it and return it."""
        events = [to_event_ids(event) for event in batch]
        plan = make_plan(self._known(events), events)
        self._apply(plan, events)
        return plan

    def unlink(self, event_guid: str) -> bool:
        """Ignore an event as a link; return False if it is not a stored one, or ignored already."""
        event = self._find_link(event_guid)
        if event is None or event_guid in self.ignored:
            return False
        self.ignored.add(event_guid)
        anonymous_id = event.anonymous_id or ""
        known = self.anonymous_ids[anonymous_id]
        if known.link is not None and known.link.guid == event_guid:
            links = [
                Link(other.link_time, other.occurred_at, other.guid, other.user_id)
                for other, _ in self.events.values()
                if other.anonymous_id == anonymous_id
                and other.user_id is not None
                and other.guid not in self.ignored
            ]
            next_link = min(links, default=None)
            survivor = f"pro_unlinked_{next(self._numbers)}"
            if next_link:
                survivor = self._users()[next_link.user_id]
            plan = make_unlink_plan(anonymous_id, known.profile, event_guid, next_link, survivor)
            self._apply(plan, [])
        return True

    def relink(self, event_guid: str) -> bool:
        """Let an ignored event be a link again; return False if it is not ignored."""
        event = self._find_link(event_guid)
        if event is None or event_guid not in self.ignored:
            return False
        self.ignored.remove(event_guid)
        self._apply(make_plan(self._known([event]), [event]), [event])
        return True

    def grouping(self) -> dict[str, str | None]:
        """Return the profile of each event, by guid."""
        return {guid: profile for guid, (_, profile) in self.events.items()}

    def _known(self, batch: Sequence[EventIds]) -> Known:
        users = self._users()
        return Known(
            {event.user_id: users[event.user_id] for event in batch if event.user_id in users},
            {
                event.anonymous_id: self.anonymous_ids[event.anonymous_id]
                for event in batch
                if event.anonymous_id in self.anonymous_ids
            },
            *self.suppressed,
            placeholders=self.placeholders,
            ignored_links=self.ignored,
        )

    def _users(self) -> dict[str, str]:
        return {user_id: guid for guid, user_id in self.profiles.items() if user_id is not None}

    def _find_link(self, event_guid: str) -> EventIds | None:
        event, _ = self.events.get(event_guid, (None, None))
        return event if event and event.user_id and event.anonymous_id else None

    def _apply(self, plan: Plan, batch: Sequence[EventIds]) -> None:
        for guid, user_id in plan.new_profiles:
            assert guid not in self.profiles, "a new profile does not exist yet"
            self.profiles[guid] = user_id
        assert not set(plan.new_anonymous_ids) & set(self.anonymous_ids), (
            "a new anonymousId is not known yet"
        )
        assert set(plan.changed_anonymous_ids) <= set(self.anonymous_ids), (
            "a changed anonymousId is known"
        )
        self.anonymous_ids |= {**plan.new_anonymous_ids, **plan.changed_anonymous_ids}
        for merge in plan.merges:
            self._merge(merge)
        for event, profile in zip(batch, plan.event_profiles, strict=True):
            # The real store ignores repeated events, except for an earlier time of receipt.
            stored, profile_ = self.events.get(event.guid, (event, profile))
            received = [time for time in (stored.received_at, event.received_at) if time]
            stored = stored._replace(received_at=min(received, default=None))
            self.events[event.guid] = stored, profile_

    def _merge(self, merge: Merge) -> None:
        if merge.reason == "claimed":
            assert self.profiles[merge.survivor] is None, "only anonymous profiles are claimed"
            self.profiles[merge.survivor] = merge.user_id
            return
        if merge.reason == "merged":
            assert merge.loser is not None
            assert self.profiles.pop(merge.loser) is None, "only anonymous profiles are merged"
        for guid, (event, profile) in self.events.items():
            if (event.user_id, event.anonymous_id) == (
                None,
                merge.anonymous_id,
            ) and profile == merge.loser:
                self.events[guid] = (event, merge.survivor)


def to_event_ids(event: SentEvent) -> EventIds:
    """Return what a plan gets of an event: None instead of ids that mean nobody."""
    return EventIds(
        event.guid,
        event.occurred_at,
        somebody(event.user_id, NOBODY),
        somebody(event.anonymous_id, NOBODY),
        event.received_at,
    )
