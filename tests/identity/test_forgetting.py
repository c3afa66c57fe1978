"""Forgetting on a real Postgres, between batches, claims, moves and crashes.

Afterwards it is as if the person's events had never been, nor the person's ids on those of others,
whenever these came. The topic brings events again that were erased.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from merganser.identity import forget
from merganser.identity.audit import audit
from merganser.runtime.postgres import connect
from schemas.ids import NOBODY, somebody
from tests.identity.histories import START as DAWN
from tests.identity.histories import guid_of
from tests.identity.reference import Told, admitted, grouping
from tests.identity.test_machine import CRASHES, Crash, Machine, Record, value_of
from tests.support import examples
from tests.support.chunks import erase_some

ANCHOR = "a person who stays"


SHARED = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["a", "b", None]), st.sampled_from(["d1", "d2"])),
    min_size=4,
    max_size=10,
)


class Suppressed(NamedTuple):
    """Ids that were suppressed, and the events told before."""

    before: frozenset[str]
    user_id: str | None
    anonymous_ids: frozenset[str]

    def admit(self, event: Told) -> Told | None:
        """What is stored of an event."""
        if event.guid in self.before:
            return event
        users = () if self.user_id is None else (self.user_id,)
        return admitted(event, users, self.anonymous_ids)


class Forgetting(Machine):
    """People are forgotten, and their events come all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.suppressed: list[Suppressed] = []
        self.run(self._execute('TRUNCATE erasures, "suppressedIds", "deletedEvents"'))
        anchor = Told(guid_of(next(self.numbers)), DAWN, ANCHOR, None)
        self.history.append(anchor)
        self.log.append(Record(0, value_of(anchor)))

    @initialize(told=SHARED)
    def begin(self, told: list[tuple[int, str | None, str | None]]) -> None:
        """There are people, and they share devices."""
        self.publish(told, [])
        self.consume(100, Crash.NEVER)

    @rule(which=st.integers(0, 20), crash=CRASHES, killed=st.booleans())
    def forget(self, which: int, crash: Crash, killed: bool) -> None:  # noqa: FBT001 - drawn
        """Somebody goes for good; `killed`: the events are left to the scanner."""
        self.run(self._forget(which, crash, suppress=True, killed=killed))

    @rule(which=st.integers(0, 20), crash=CRASHES)
    def begin_anew(self, which: int, crash: Crash) -> None:
        """Somebody goes, and may come back. What is on its way to the tables has arrived."""
        while self.run(self._consume(100, Crash.NEVER)):
            pass
        self.run(self._forget(which, crash, suppress=False, killed=False))

    @rule(most=st.integers(1, 4), crash=CRASHES)
    def erase(self, most: int, crash: Crash) -> None:
        """The scanner deletes some of what the command left."""
        self.run(self._attempt(lambda connection: erase_some(connection, most), crash))

    async def _forget(self, which: int, crash: Crash, *, suppress: bool, killed: bool) -> None:
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute(
                'SELECT guid, "userId" FROM profiles WHERE "userId" IS DISTINCT FROM %s '
                "ORDER BY guid",
                (ANCHOR,),
            )
            people = await cursor.fetchall()
            if not people:
                return
            profile, user_id = people[which % len(people)]
            cursor = await connection.execute(
                'SELECT "anonymousId" FROM "anonymousIds" WHERE "profileGuid" = %s', (profile,)
            )
            devices = frozenset(device for (device,) in await cursor.fetchall())
            cursor = await connection.execute(
                'SELECT guid FROM events WHERE "profileGuid" IS NOT NULL AND "profileGuid" '
                'NOT IN (SELECT "profileGuid" FROM erasures)'
            )
            resolved = {guid for (guid,) in await cursor.fetchall()}
        await self._steps(profile, crash, suppress=suppress)
        if not killed:
            while await self._attempt(lambda c: erase_some(c, 2), Crash.NEVER) is not None:
                pass
        self._remember(resolved, user_id, devices, suppress=suppress)
        async with await connect(self.url, "test") as connection:
            report = await audit(connection, NOBODY, lambda _: None)
        assert report.disagreements == []

    async def _steps(self, profile: str, crash: Crash, *, suppress: bool) -> None:
        """All that the command does but erase events, one anonymousId at a time."""
        visitors: list[str] = []

        async def clear(connection: psycopg.AsyncConnection[Any]) -> bool:
            return await forget.detach_anonymous_ids(connection, profile, visitors, 2)

        async def forget_visitors(connection: psycopg.AsyncConnection[Any]) -> None:
            await forget.forget_anonymous_ids(connection, profile, visitors, suppressed=suppress)

        while visitors := await self._repeatedly(
            lambda c: forget.suppress_ids(c, profile, 1), crash
        ):
            while await self._repeatedly(clear, crash):
                pass
            await self._repeatedly(forget_visitors, crash)
            async with await connect(self.url, "test") as connection:
                report = await audit(connection, NOBODY, lambda _: None)
            assert report.disagreements == []
        while await self._repeatedly(lambda c: forget.forget_merges(c, profile, 1), crash):
            pass
        await self._repeatedly(
            lambda c: forget.forget_profile(c, profile, suppressed=suppress), crash
        )

    async def _repeatedly(self, work: Any, crash: Crash) -> Any:
        """A step whose connection dies, and the same step again."""
        if crash is not Crash.NEVER:
            await self._attempt(work, crash)
        return await self._attempt(work, Crash.NEVER)

    def _remember(
        self,
        resolved: set[str],
        user_id: str | None,
        devices: frozenset[str],
        *,
        suppress: bool,
    ) -> None:
        """What the history is now, by the definition."""
        whose = ("user", user_id) if user_id else ("anonymous", *devices)
        known = [event for event in self.history if event.guid in resolved]
        gone = {guid for guid, group in grouping(known).items() if group == whose}
        told = Suppressed(frozenset(), user_id, devices)
        left = []
        for event in self.history:
            if event.guid in resolved - gone:
                off = event.anonymous_id in devices
                left.append(event._replace(anonymous_id=None) if off else event)
            elif event.guid not in gone:
                kept = told.admit(event) if suppress else event
                left += [kept] if kept else []
        self.history = left
        if suppress:
            before = frozenset(event.guid for event in left if event.guid in resolved)
            self.suppressed.append(told._replace(before=before))

    async def _finish(self) -> None:
        while await self._consume(100, Crash.NEVER):
            pass
        while (await self._attempt(lambda c: erase_some(c, 100), Crash.NEVER)) is not None:
            pass
        for suppressed in self.suppressed:
            self.history = [kept for event in self.history if (kept := suppressed.admit(event))]
        await super()._finish()
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute('SELECT guid, "anonymousId" FROM events')
            stored = {guid: somebody(device, NOBODY) for guid, device in await cursor.fetchall()}
        assert stored == {
            event.guid: somebody(event.anonymous_id, NOBODY) for event in self.history
        }

    async def _execute(self, statement: str) -> None:
        async with await connect(self.url, "test") as connection:
            await connection.execute(statement.encode())


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Forgetting]]:
    with asyncio.Runner() as runner:
        yield type(
            "OnThisDatabase", (Forgetting,), {"url": database_url, "loop": runner.get_loop()}
        )


@pytest.mark.timeout(600)
def test_whoever_is_forgotten_never_was(machine: type[Forgetting]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples.count(fast=3, full=8, nightly=200),
            stateful_step_count=20,
            deadline=None,
            # Shrinking on a real database takes minutes; the steps of a failure are few as it is.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
