"""What clients were promised, and whether the tables keep it: once, as sent, well grouped."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.identity.misplaced import misplaced
from tests.identity.reference import SentEvent, grouping
from tests.support import database
from tests.support.database import Database
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Sent:
    """One event as a client sent it; `data` names it and no other."""

    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None
    data: Mapping[str, str]


@dataclass
class Ledger:
    """The events that were answered 200, or committed as rows, by guid."""

    events: dict[str, Sent] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events)

    def acknowledge(self, guid: str, sent: Sent) -> None:
        """Note what was promised."""
        assert self.events.setdefault(guid, sent) == sent, f"{guid} was given to two events"

    async def verified(self, url: str, within: float = 120) -> None:
        """Wait until the tables of this database have settled, and compare them with the promises.

        Every client must have been answered: what is stored and was not promised counts as doubled.

        Raises:
            AssertionError: they differ, or do not settle within that many seconds.
        """
        async with database.opened(url) as opened:
            await eventually(
                lambda: self._unsettled(opened), lambda left: not left, within=within, what="stored"
            )
            assert await self.disagreements(opened) == []

    async def disagreements(self, opened: Database) -> list[str]:
        """What is missing, doubled, changed or misplaced: one line for each kind, with an example.

        Users' ids must mean somebody: the gate keeps no others.
        """
        stored = {
            guid: (SentEvent(guid, occurred_at, user_id, anonymous_id), profile)
            for guid, occurred_at, user_id, anonymous_id, profile in await opened.rows(
                'SELECT guid, "occurredAt", "userId", "anonymousId", "profileGuid" FROM events'
            )
        }
        data: dict[str, list[tuple[str, str]]] = {}
        for guid, key, value in await opened.rows(
            'SELECT "eventGuid", key, value FROM "eventData" ORDER BY key, value'
        ):
            data.setdefault(guid, []).append((key, value))
        sent = {guid: _told(guid, event) for guid, event in self.events.items()}
        expected: dict[str, Hashable] = grouping(sent.values())
        profiles = {guid: profile for guid, (_, profile) in stored.items()}
        kept = sorted(sent.keys() & stored.keys())
        found: dict[str, Any] = {
            "missing": sorted(sent.keys() - stored.keys()),
            "doubled": sorted(stored.keys() - sent.keys()),
            "changed": [
                guid
                for guid in kept
                if stored[guid][0] != sent[guid]
                or data.get(guid, []) != sorted(self.events[guid].data.items())
            ],
            "misplaced": next(misplaced(profiles, {guid: expected[guid] for guid in kept}), None),
        }
        return [
            f"{what}: {guids if isinstance(guids, str) else (len(guids), guids[0])}"
            for what, guids in found.items()
            if guids
        ]

    async def _unsettled(self, opened: Database) -> str:
        """What is still under way; empty when nothing is."""
        missing = len(self) - await opened.count("events")
        waiting, moves = await opened.unresolved(), await opened.count("eventMoves")
        busy = missing > 0 or waiting or moves
        return f"{missing} events missing, {waiting} unresolved, {moves} moves" if busy else ""


def _told(guid: str, sent: Sent) -> SentEvent:
    return SentEvent(guid, sent.occurred_at, sent.user_id, sent.anonymous_id)
