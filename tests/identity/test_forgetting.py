"""Forget people on a real Postgres, between batches, moves and crashes.

At the end the tables are as if neither the person's events nor the person's ids on events of others
had ever been sent, even if the topic delivers erased events again.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from merganser.identity import forget
from merganser.identity.audit import audit
from merganser.identity.forget import Request
from merganser.runtime.postgres import connect
from schemas.ids import NOBODY, somebody
from tests.identity.histories import START as START_TIME
from tests.identity.histories import guid_of
from tests.identity.reference import SentEvent, grouping, without_suppressed
from tests.identity.test_machine import CRASHES, Crash, Machine, Record, value_of
from tests.support import examples
from tests.support.chunks import erase_some

ANCHOR = "a person who stays"


class Suppressed(NamedTuple):
    """Suppressed ids, and the guids of the events resolved before, which stay as they are."""

    before: frozenset[str]
    user_id: str | None
    anonymous_ids: frozenset[str]

    def admit(self, event: SentEvent) -> SentEvent | None:
        """Return what is stored of an event, or None."""
        if event.guid in self.before:
            return event
        users = () if self.user_id is None else (self.user_id,)
        return without_suppressed(event, users, self.anonymous_ids)


class Forgetting(Machine):
    """The machine, which also forgets people while events keep arriving."""

    def __init__(self) -> None:
        super().__init__()
        self.suppressed: list[Suppressed] = []
        self.erased = 0
        """Number of events of forgotten people."""
        self.run(
            self._execute(
                'TRUNCATE erasures, "suppressedIds", "deletedEvents", "erasureLedger" CASCADE'
            )
        )
        anchor = SentEvent(guid_of(next(self.numbers)), START_TIME, ANCHOR, None)
        self.history.append(anchor)
        self.log.append(Record(0, value_of(anchor)))

    @rule(which=st.integers(0, 20), crash=CRASHES, killed=st.booleans())
    def forget(self, which: int, crash: Crash, killed: bool) -> None:  # noqa: FBT001 - drawn
        """Forget a person and suppress the ids; if `killed`, leave the events to the scanner."""
        self.run(self._forget(which, crash, suppress=True, killed=killed))

    @rule(which=st.integers(0, 20), crash=CRASHES)
    def forget_without_suppression(self, which: int, crash: Crash) -> None:
        """Forget a person whose ids may be used again, after all records are resolved."""
        while self.run(self._consume(100, Crash.NEVER)):
            pass
        self.run(self._forget(which, crash, suppress=False, killed=False))

    @rule(limit=st.integers(1, 4), crash=CRASHES)
    def erase(self, limit: int, crash: Crash) -> None:
        """Erase a chunk of events, as the scanner does."""
        self.run(self._attempt(lambda connection: erase_some(connection, limit), crash))

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
                'SELECT guid, "createdAt" FROM events WHERE "profileGuid" IS NOT NULL '
                'AND "profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)'
            )
            resolved = dict(await cursor.fetchall())
            cursor = await connection.execute('SELECT guid FROM events WHERE "profileGuid" IS NULL')
            unresolved = {guid for (guid,) in await cursor.fetchall()}
        await self._run_steps(profile, crash, suppress=suppress)
        if not killed:
            while await self._attempt(lambda c: erase_some(c, 2), Crash.NEVER) is not None:
                pass
        self._remember(resolved, unresolved, user_id, devices, suppress=suppress)
        async with await connect(self.url, "test") as connection:
            report = await audit(connection, NOBODY, lambda _: None)
        assert report.disagreements == []

    async def _run_steps(self, profile: str, crash: Crash, *, suppress: bool) -> None:
        """Run all steps of the command except `erase_chunk`, one anonymousId at a time."""
        anonymous_ids: list[str] = []
        request = Request(profile, "me", "why", "all" if suppress else "none")

        async def detach_anonymous_ids(connection: psycopg.AsyncConnection[Any]) -> bool:
            return await forget.detach_anonymous_ids(connection, profile, anonymous_ids, 2)

        async def forget_anonymous_ids(connection: psycopg.AsyncConnection[Any]) -> None:
            await forget.forget_anonymous_ids(connection, profile, anonymous_ids)

        while anonymous_ids := await self._retry(
            lambda c: forget.suppress_ids(c, profile, request, 1), crash
        ):
            while await self._retry(detach_anonymous_ids, crash):
                pass
            await self._retry(forget_anonymous_ids, crash)
            async with await connect(self.url, "test") as connection:
                report = await audit(connection, NOBODY, lambda _: None)
            assert report.disagreements == []
        while await self._retry(lambda c: forget.forget_merges(c, profile, 1), crash):
            pass
        await self._retry(lambda c: forget.forget_profile(c, profile), crash)

    async def _retry(self, work: Any, crash: Crash) -> Any:
        """Run a step with a crash, then run it again without."""
        if crash is not Crash.NEVER:
            await self._attempt(work, crash)
        return await self._attempt(work, Crash.NEVER)

    def _remember(
        self,
        resolved: Mapping[str, datetime],
        unresolved: Collection[str],
        user_id: str | None,
        devices: frozenset[str],
        *,
        suppress: bool,
    ) -> None:
        """Change the history to what must be stored, by the definition."""
        forgotten_group = ("user", user_id) if user_id else ("anonymous", *devices)
        known = [
            event._replace(received_at=event.received_at and resolved[event.guid])
            for event in self.history
            if event.guid in resolved
        ]
        forgotten = {
            guid
            for guid, group in grouping(known, self.ignored).items()
            if group == forgotten_group
        }
        self.erased += len(forgotten)
        suppressed = Suppressed(frozenset(), user_id, devices)
        remaining = []
        for event in self.history:
            if event.guid in resolved.keys() - forgotten:
                unlinked = event.anonymous_id in devices
                remaining.append(event._replace(anonymous_id=None) if unlinked else event)
            elif event.guid not in forgotten:
                # Without suppression all records are resolved, so this is an unresolved row.
                stored_event = suppressed.admit(event)
                self.erased += event.guid in unresolved and stored_event is None
                remaining += [stored_event] if stored_event else []
        self.history = remaining
        if suppress:
            before = frozenset(event.guid for event in remaining if event.guid in resolved)
            self.suppressed.append(suppressed._replace(before=before))

    async def _finish(self) -> None:
        while await self._consume(100, Crash.NEVER):
            pass
        while (await self._attempt(lambda c: erase_some(c, 100), Crash.NEVER)) is not None:
            pass
        for suppressed in self.suppressed:
            self.history = [
                admitted for event in self.history if (admitted := suppressed.admit(event))
            ]
        await super()._finish()
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute('SELECT guid, "anonymousId" FROM events')
            stored = {guid: somebody(device, NOBODY) for guid, device in await cursor.fetchall()}
            cursor = await connection.execute(
                'SELECT "finishedAt" IS NOT NULL, "table", sum(rows)::int '
                'FROM "erasureLedger" AS ledger '
                'LEFT JOIN "erasureCounts" ON "erasureGuid" = ledger.guid '
                "AND action = 'deleted' AND \"table\" = 'events' GROUP BY 1, 2"
            )
            ledger = await cursor.fetchall()
        assert all(finished for finished, *_ in ledger)
        assert sum(rows or 0 for *_, rows in ledger) == self.erased
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
def test_tables_have_no_trace_of_a_forgotten_person(machine: type[Forgetting]) -> None:
    run_state_machine_as_test(
        machine, settings=examples.machine(steps=20, fast=3, full=8, nightly=200)
    )
