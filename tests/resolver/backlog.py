"""Publish many events, and check that each is resolved exactly once."""

from dataclasses import dataclass
from typing import Self

from schemas.event import Event
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually


@dataclass(frozen=True)
class Backlog:
    """Events of many people; some sign in, some twice, some never."""

    system: System
    events: list[Event]

    @classmethod
    async def published(cls, system: System, size: int) -> Self:
        """Publish this number of events."""
        events = [
            event(
                user=f"user-{n % 40}" if n % 7 == 0 else None,
                anonymous=f"visitor-{n % 150}",
                kind=f"kind-{n}",
                at=n * 7919 % size,  # links do not arrive in the order of their times
                number=str(n),
            )
            for n in range(size)
        ]
        await system.events.publish_events(events)
        return cls(system, events)

    async def in_the_middle(self) -> None:
        """Wait until some events are resolved; check that others are not."""
        await eventually(lambda: self.system.database.count("events"))
        assert await self.system.database.count("events") < len(self.events), "make it larger"

    async def resolved_once(self) -> None:
        """Wait for all events, and check that none is lost, repeated or on the wrong profile."""
        database = self.system.database
        count = len(self.events)
        # Distinct, so that a repeated event does not hide a lost one.
        distinct = "SELECT count(DISTINCT guid) FROM events WHERE guid LIKE 'evt_%%'"
        await eventually(lambda: database.value(distinct), lambda found: found >= count)
        assert await database.count("events") == count
        data = await database.rows('SELECT "eventGuid", key, value FROM "eventData"')
        assert sorted(data) == sorted(
            (one["guid"], "number", one["data"]["number"]) for one in self.events
        )
        await eventually(lambda: database.count("eventMoves"), equals(0))
        assert await database.grouping() == expected_grouping(self.events)
        offsets = dict(await database.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"'))
        assert offsets == await self.system.events.ends()


def expected_grouping(events: list[Event]) -> set[frozenset[str]]:
    """Return the types of the events of each profile, by the rules of identity."""
    owners: dict[str, str] = {}
    for one in sorted(events, key=lambda one: (one["occurredAt"], one["guid"])):
        if one["userId"] and one["anonymousId"]:
            owners.setdefault(one["anonymousId"], one["userId"])
    groups: dict[tuple[str, str | None], set[str]] = {}
    for one in events:
        user = one["userId"] or owners.get(one["anonymousId"] or "")
        person = ("user", user) if user else ("visitor", one["anonymousId"])
        groups.setdefault(person, set()).add(one["type"])
    return {frozenset(group) for group in groups.values()}
