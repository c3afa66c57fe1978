"""A store in memory that applies plans as the real one does, for tests of the pure plan."""

from collections.abc import Collection, Iterable, Sequence

from merganser.identity.plan import AnonymousId, EventIds, Known, Merge, Plan, make_plan
from schemas.ids import NOBODY, somebody
from tests.identity.reference import Told


class World:
    """Everything the tables would hold."""

    def __init__(
        self, suppressed: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset())
    ) -> None:
        self.suppressed = suppressed
        """userIds and anonymousIds."""
        self.profiles: dict[str, str | None] = {}
        self.anonymous_ids: dict[str, AnonymousId] = {}
        self.events: dict[str, tuple[EventIds, str | None]] = {}

    def receive(self, batch: Iterable[Told]) -> Plan:
        """Plan a batch with just what is known of its ids, and apply the plan."""
        sightings = [sighting(event) for event in batch]
        decided = make_plan(self._known(sightings), sightings)
        self._apply(decided, sightings)
        return decided

    def grouping(self) -> dict[str, str | None]:
        """The profile of each event."""
        return {guid: profile for guid, (_, profile) in self.events.items()}

    def _known(self, batch: Sequence[EventIds]) -> Known:
        users = {user_id: guid for guid, user_id in self.profiles.items() if user_id is not None}
        return Known(
            {s.user_id: users[s.user_id] for s in batch if s.user_id in users},
            {
                s.anonymous_id: self.anonymous_ids[s.anonymous_id]
                for s in batch
                if s.anonymous_id in self.anonymous_ids
            },
            *self.suppressed,
        )

    def _apply(self, decided: Plan, batch: Sequence[EventIds]) -> None:
        for guid, user_id in decided.new_profiles:
            assert guid not in self.profiles, "a profile is made once"
            self.profiles[guid] = user_id
        assert not set(decided.new_anonymous_ids) & set(self.anonymous_ids), "an arrival is new"
        assert set(decided.changed_anonymous_ids) <= set(self.anonymous_ids), (
            "a change is of something known"
        )
        self.anonymous_ids |= {**decided.new_anonymous_ids, **decided.changed_anonymous_ids}
        for merge in decided.merges:
            self._merge(merge)
        for event, profile in zip(batch, decided.event_profiles, strict=True):
            # The real store leaves repeated events out.
            self.events.setdefault(event.guid, (event, profile))

    def _merge(self, merge: Merge) -> None:
        if merge.reason == "claimed":
            assert self.profiles[merge.survivor] is None, "only anonymous profiles are claimed"
            self.profiles[merge.survivor] = merge.link.user_id
            return
        if merge.reason == "merged":
            assert merge.loser is not None
            assert self.profiles.pop(merge.loser) is None, "only anonymous profiles go"
        for guid, (event, profile) in self.events.items():
            if event[2:] == (None, merge.anonymous_id) and profile == merge.loser:
                self.events[guid] = (event, merge.survivor)


def sighting(event: Told) -> EventIds:
    """An event as the plan sees it: ids that mean nobody are gone."""
    return EventIds(
        event.guid,
        event.occurred_at,
        somebody(event.user_id, NOBODY),
        somebody(event.anonymous_id, NOBODY),
    )
