"""An in-memory replacement of `merganser.identity.store`, for tests of the plan."""

from collections.abc import Collection, Iterable, Sequence

from merganser.identity.plan import AnonymousId, EventIds, Known, Merge, Plan, make_plan
from schemas.ids import NOBODY, somebody
from tests.identity.reference import SentEvent


class MemoryStore:
    """The content of the tables; `receive` changes it as a plan says."""

    def __init__(
        self, suppressed: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset())
    ) -> None:
        self.suppressed = suppressed
        """Suppressed userIds and anonymousIds."""
        self.profiles: dict[str, str | None] = {}
        self.anonymous_ids: dict[str, AnonymousId] = {}
        self.events: dict[str, tuple[EventIds, str | None]] = {}

    def receive(self, batch: Iterable[SentEvent]) -> Plan:
        """Make a plan from what is known of the ids of a batch, apply it and return it."""
        events = [to_event_ids(event) for event in batch]
        plan = make_plan(self._known(events), events)
        self._apply(plan, events)
        return plan

    def grouping(self) -> dict[str, str | None]:
        """Return the profile of each event, by guid."""
        return {guid: profile for guid, (_, profile) in self.events.items()}

    def _known(self, batch: Sequence[EventIds]) -> Known:
        users = {user_id: guid for guid, user_id in self.profiles.items() if user_id is not None}
        return Known(
            {event.user_id: users[event.user_id] for event in batch if event.user_id in users},
            {
                event.anonymous_id: self.anonymous_ids[event.anonymous_id]
                for event in batch
                if event.anonymous_id in self.anonymous_ids
            },
            *self.suppressed,
        )

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
            # The real store ignores repeated events.
            self.events.setdefault(event.guid, (event, profile))

    def _merge(self, merge: Merge) -> None:
        if merge.reason == "claimed":
            assert self.profiles[merge.survivor] is None, "only anonymous profiles are claimed"
            self.profiles[merge.survivor] = merge.link.user_id
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
