"""Remove placeholder userIds on a real Postgres, between batches, moves and crashes.

At the end the tables are as if no event had ever had a removed userId.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from merganser.admin.database import open_transactions
from merganser.admin.placeholder import run_steps
from merganser.identity import forget, placeholder
from merganser.identity.audit import audit
from merganser.identity.forget import Request
from merganser.identity.placeholder import Placeholder
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from merganser.runtime.settings import Settings
from schemas.ids import NOBODY, somebody
from tests.identity.reference import SentEvent
from tests.identity.test_machine import CRASHES, Crash, Machine
from tests.identity.test_trail import at, resolve
from tests.support import examples
from tests.support.database import Database
from tests.support.kills import Killed, kill_after
from tests.support.waiting import eventually

Result = TypeVar("Result")

REQUEST = Request("tester", "me", "no person", "placeholder")
FORGET_ANN = Request("ann", "me", "a request", "all")


class Removing(Machine):
    """The machine, which also removes placeholders while events keep arriving."""

    def __init__(self) -> None:
        super().__init__()
        self.removed: set[str] = set()
        self.unfinished: list[Placeholder] = []
        self.run(
            self._execute(
                'TRUNCATE erasures, "suppressedIds", "deletedEvents", "erasureLedger" CASCADE'
            )
        )

    @rule(which=st.integers(0, 20), transactions=st.integers(1, 40), crash=CRASHES)
    def remove(self, which: int, transactions: int, crash: Crash) -> None:
        """Remove the userId of a profile; kill the command after some transactions."""
        self.run(self._remove_any(which, transactions, crash))

    @rule(transactions=st.integers(1, 40), crash=CRASHES)
    def remove_again(self, transactions: int, crash: Crash) -> None:
        """Run a killed command again."""
        if self.unfinished:
            self.run(self._continue(transactions, crash))

    async def _remove_any(self, which: int, transactions: int, crash: Crash) -> None:
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute(
                'SELECT "userId" FROM profiles WHERE "userId" IS NOT NULL ORDER BY guid'
            )
            users = [user_id for (user_id,) in await cursor.fetchall()]
            if not users:
                return
            found = await placeholder.find_placeholder(connection, users[which % len(users)])
        assert found is not None
        self.removed.add(found.user_id)
        await self._remove(found, transactions, crash)

    async def _remove(self, found: Placeholder, transactions: int, crash: Crash) -> None:
        async def transact(
            work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Result]],
        ) -> Result:
            if crash is not Crash.NEVER:
                await self._attempt(work, crash)
            result: Result = await self._attempt(work, Crash.NEVER)
            return result

        try:
            limited = kill_after(transactions, transact)
            await run_steps(limited, found, REQUEST, NOBODY, 2, lambda _: None)
        except Killed:
            self.unfinished.append(found)
        async with await connect(self.url, "test") as connection:
            report = await audit(connection, NOBODY, lambda _: None)
        assert report.disagreements == []

    async def _continue(self, transactions: int, crash: Crash) -> None:
        """Run a killed command again if anything is left to do."""
        found = self.unfinished.pop()
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute(
                'SELECT FROM profiles WHERE "userId" = %s '
                'UNION ALL SELECT FROM erasures WHERE "profileGuid" = %s',
                (found.user_id, found.profile),
            )
        if cursor.rowcount:
            await self._remove(found, transactions, crash)

    async def _finish(self) -> None:
        while self.unfinished:
            await self._continue(10_000, Crash.NEVER)
        self.history = [
            stored for event in self.history if (stored := self._without_removed(event)) is not None
        ]
        await super()._finish()
        async with await connect(self.url, "test") as connection:
            for table in ("events", "profiles", "anonymousIds", "profileMerges"):
                cursor = await connection.execute(f'SELECT "userId" FROM "{table}"')
                assert self.removed.isdisjoint(user_id for (user_id,) in await cursor.fetchall())
            for table in ("erasures", "eventMoves"):
                cursor = await connection.execute(f'SELECT count(*) FROM "{table}"')
                assert await cursor.fetchone() == (0,)

    def _without_removed(self, event: SentEvent) -> SentEvent | None:
        """Return what is stored of an event, or None."""
        if event.user_id not in self.removed:
            return event
        named = somebody(event.anonymous_id, NOBODY) is not None
        return event._replace(user_id=None) if named else None

    async def _execute(self, statement: str) -> None:
        async with await connect(self.url, "test") as connection:
            await connection.execute(statement)


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Removing]]:
    with asyncio.Runner() as runner:
        yield type("OnThisDatabase", (Removing,), {"url": database_url, "loop": runner.get_loop()})


@pytest.mark.timeout(600)
def test_removed_userids_are_as_if_they_had_never_been_sent(machine: type[Removing]) -> None:
    run_state_machine_as_test(machine, settings=examples.machine(steps=15, fast=10, full=40))


async def test_rows_that_are_not_resolved_keep_their_anonymous_id(database: Database) -> None:
    await resolve(database, EventIds("evt_1", at(1), "tester", "phone"))
    await database.execute("""
        INSERT INTO events (guid, type, "userId", "anonymousId") VALUES
            ('evt_row', 'row', 'tester', 'phone'), ('evt_nobody', 'row', 'tester', 'null'),
            ('evt_user', 'row', 'tester', NULL), ('evt_other', 'row', 'ann', NULL)
    """)
    await database.execute("""
        INSERT INTO "setAside" (kind, subject, reason)
        SELECT 'row', guid, 'XX000' FROM events WHERE type = 'row'
    """)
    found = await placeholder.find_placeholder(database.connection, "tester")
    assert found is not None
    own = Settings(_env_file=None, database_url=database.url)
    async with open_transactions(own, "test") as transact:
        await run_steps(transact, found, REQUEST, NOBODY, 2, lambda _: None)
    assert await database.rows(
        'SELECT guid, "userId", "anonymousId" FROM events ORDER BY guid'
    ) == [
        ("evt_1", None, "phone"),
        ("evt_other", "ann", None),
        ("evt_row", None, "phone"),
    ]
    items = await database.column('SELECT subject FROM "setAside" ORDER BY subject')
    assert items == ["evt_other", "evt_row"]
    counts = 'SELECT "table", action, rows FROM "erasureCounts" ORDER BY 1, 2'
    assert await database.rows(counts) == [
        ("anonymousIds", "changed", 1),
        ("events", "changed", 2),
        ("events", "deleted", 2),
        ("profiles", "deleted", 1),
        ("setAside", "deleted", 2),
    ]


async def test_no_anonymous_id_goes_to_a_person_whose_erasure_begins_meanwhile(
    database: Database,
) -> None:
    await resolve(database, EventIds("evt_1", at(1), "tester", "phone"))
    await resolve(database, EventIds("evt_2", at(2), "ann", "phone"))
    found = await placeholder.find_placeholder(database.connection, "tester")
    assert found is not None
    ann = await database.profile_of("ann")
    async with (
        await connect(database.url, "remove") as removing,
        await connect(database.url, "forget") as forgetting,
    ):
        async with removing.transaction():
            await placeholder.suppress(removing, found, REQUEST)

        async def suppress_ann() -> list[str]:
            async with forgetting.transaction():
                return await forget.suppress_ids(forgetting, ann, FORGET_ANN, 2)

        async def waits_or_is_done() -> bool:
            return suppressing.done() or await database.lock_waits() == 1

        async with removing.transaction():
            await placeholder.change_owners(removing, found, NOBODY, 2)
            suppressing = asyncio.create_task(suppress_ann())
            await eventually(waits_or_is_done)
        assert await suppressing == ["phone"]
