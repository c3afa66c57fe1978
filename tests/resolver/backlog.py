"""Many events that wait in the topic, and the question whether each was resolved exactly once."""

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
        """Put so many events into the topic."""
        events = [
            event(
                user=f"user-{n % 40}" if n % 7 == 0 else None,
                anonymous=f"visitor-{n % 150}",
                kind=f"kind-{n}",
                at=n * 7919 % size,  # so that links arrive in another order than they were made
                number=str(n),
            )
            for n in range(size)
        ]
        await system.events.publish_events(events)
        return cls(system, events)

    async def in_the_middle(self) -> None:
        """Wait until some of it is resolved, and check that some is not."""
        await eventually(lambda: self.system.database.count("events"))
        assert await self.system.database.count("events") < len(self.events), "make it larger"

    async def resolved_once(self) -> None:
        """Wait for all of it, and check that nothing is lost, doubled or on the wrong profile."""
        database = self.system.database
        count = len(self.events)
        # Distinct, so that a repeated event does not stand in for a lost one.
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
    """The rules of identity over the whole list at once."""
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
