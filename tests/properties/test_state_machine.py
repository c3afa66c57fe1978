"""Properties on a real Postgres: whatever happens to events, at rest they are what a recount gives.

Events come through the resolver's writer and as rows of other systems, late and twice; links claim,
merge and move; data comes late, changes and goes; events and days go; rules change; the process
counts a little at a time, and its connection dies.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from aiokafka import TopicPartition
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from merganser.rulebook import rule_store
from merganser.rulebook.language import Rule, RuleFile
from merganser.runtime.postgres import BY_KEY, connect
from properties.audit import audit
from properties.loop import PropertyUpdater, StepResult
from properties.step import StepCounts
from resolver import decode
from resolver.offsets import Offsets
from resolver.writer import Writer
from scanner.scan import SCAN_START, RowScanner
from schemas import event as wire
from schemas.ids import NOBODY
from tests.identity.histories import guid_of
from tests.identity.test_machine import CRASHES, Crash, Record
from tests.properties import reference
from tests.properties.reference import ReferenceEvent
from tests.properties.strategies import DATA, MOMENT, NOW, TYPES, rules
from tests.support import examples
from tests.support.chunks import move_some

PARTITION = TopicPartition("events", 0)
Result = TypeVar("Result")
Told = tuple[datetime, str, str | None, str | None, dict[str, str]]

IDENTIFYING = Rule(key="userId", type="string", unique=True, identifying=True)
USERS, DEVICES = ["a", "b", None, None], ["d1", "d2", "d3", None]
TOLD = st.lists(
    st.tuples(
        MOMENT, st.sampled_from(TYPES), st.sampled_from(USERS), st.sampled_from(DEVICES), DATA
    ),
    max_size=6,
)
BROAD = [
    {"aggregation": "count"},
    {"aggregation": "all values", "column": "occurredAt"},
    {"aggregation": "average", "column": "data.price"},
]
"""Rules that notice every event; of the last one any data."""
ALWAYS = tuple(
    Rule(
        key=f"broad{number}",
        type="float" if source["aggregation"] != "all values" else "date",
        array=source["aggregation"] == "all values",
        events={"type": TYPES, **source},
    )
    for number, source in enumerate(BROAD)
)
RULES = st.tuples(rules(key="one"), rules(key="two"))
ANY = st.integers(0, 200)
SELDOM = st.sampled_from([True, False, False, False, False])


class Machine(RuleBasedStateMachine):
    """One database, and everything that can happen to its events."""

    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.offsets = itertools.count(1)
        self.guids: list[str] = []
        self.now = NOW
        self.properties = PropertyUpdater(3)
        self.writer = Writer(Offsets("group", "cluster"), 7, move_limit=2, nobody_ids=NOBODY)
        self.connection = self.run(connect(self.url, "test", BY_KEY))
        self.run(self._execute(EMPTY))

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    @initialize(told=TOLD, made=RULES)
    def begin(self, told: list[Told], made: tuple[Rule, ...]) -> None:
        """Some events are older than the first rule."""
        self.publish(told)
        self.apply(made, count=2, seldom=True)

    @rule(told=TOLD)
    def publish(self, told: list[Told]) -> None:
        """A resolver's batch."""
        events = self._events(told)
        if events:
            self.run(self._publish(events))

    @rule(told=TOLD, data_first=st.booleans())
    def insert(self, told: list[Told], data_first: bool) -> None:  # noqa: FBT001 - drawn
        """Rows of another system, whose data may come on its own."""
        self.run(self._insert(self._events(told), data_first=data_first))

    @rule(limit=st.integers(1, 5))
    def scan(self, limit: int) -> None:
        """A scanner's claims."""
        self.run(self._scan(limit))

    @rule(most=st.integers(1, 3))
    def move(self, most: int) -> None:
        """A chunk of a big merge."""
        self.run(self._transact(lambda connection: move_some(connection, most)))

    @rule(which=ANY, data=DATA)
    def add_data(self, which: int, data: dict[str, str]) -> None:
        """Another system sends data for an event that was there before."""
        if self.guids:
            guid = self.guids[which % len(self.guids)]
            self.run(self._add_data([(guid, key, value) for key, value in data.items()]))

    @rule(which=ANY, value=st.sampled_from(["7", "new"]))
    def change_data(self, which: int, value: str) -> None:
        """Somebody corrects data in the table."""
        self._on_one(
            'UPDATE "eventData" SET value = %(value)s WHERE "eventGuid" = %(guid)s', which, value
        )

    @rule(which=ANY)
    def delete_data(self, which: int) -> None:
        """Somebody deletes data."""
        self._on_one('DELETE FROM "eventData" WHERE "eventGuid" = %(guid)s', which)

    @rule(which=ANY)
    def delete_event(self, which: int) -> None:
        """Somebody deletes an event; its data may lie about for ever."""
        self._on_one("DELETE FROM events WHERE guid = %(guid)s", which)

    @rule(which=ANY, value=st.sampled_from(TYPES))
    def change_event(self, which: int, value: str) -> None:
        """Somebody corrects an event."""
        self._on_one("UPDATE events SET type = %(value)s WHERE guid = %(guid)s", which, value)

    @rule(made=RULES, count=st.integers(0, 2), seldom=SELDOM)
    def apply(self, made: tuple[Rule, ...], count: int, seldom: bool) -> None:  # noqa: FBT001 - drawn
        """Other rules, or none. Seldom: what is counted again for them hides earlier mistakes."""
        if seldom:
            file = RuleFile(rules=(IDENTIFYING, *ALWAYS, *made[:count]) if count else ())
            self.run(rule_store.apply_file(self.connection, file))

    @rule()
    def a_day_goes_by(self) -> None:
        """Windows move."""
        self.now += timedelta(days=1)

    @rule(times=st.integers(1, 2), crash=CRASHES)
    def count_a_little(self, times: int, crash: Crash) -> None:
        """Most often."""
        self.count(times, crash)

    @rule(times=st.integers(1, 9), crash=CRASHES)
    def count(self, times: int, crash: Crash) -> None:
        """The properties process does some of what it has to do."""
        for _ in range(times):
            self.run(self._step(crash))

    def teardown(self) -> None:
        """Let everything be done, then compare."""
        self.run(self._finish())

    def _events(self, told: list[Told]) -> list[wire.Event]:
        events: list[wire.Event] = [
            {
                "guid": guid_of(next(self.numbers)),
                "producerGuid": None,
                "ipAddress": "192.0.2.1",
                "createdAt": self.now,
                "occurredAt": moment,
                "type": kind,
                "userId": user_id,
                "anonymousId": device,
                "data": data,
            }
            for moment, kind, user_id, device, data in told
            if user_id or device
        ]
        self.guids += [event["guid"] for event in events]
        return events

    async def _publish(self, events: list[wire.Event]) -> None:
        stored = await self.writer.offsets.read_or_create(self.connection, {PARTITION: 0})
        old_offsets = {PARTITION: stored[PARTITION].next_offset}
        last = old_offsets[PARTITION] + len(events)
        records = [(Record(next(self.offsets), None), event) for event in events]
        written = decode.Batch(records, next_offsets={PARTITION: last})  # type: ignore[arg-type] # a test's records
        await self._transact(lambda connection: self.writer.write(connection, written, old_offsets))

    async def _insert(self, events: list[wire.Event], *, data_first: bool) -> None:
        data = [(event["guid"], *pair) for event in events for pair in event["data"].items()]
        if data_first:
            await self._add_data(data)
        async with self.connection.cursor() as cursor:
            await cursor.executemany(
                'INSERT INTO events (guid, type, "occurredAt", "userId", "anonymousId") '
                "VALUES (%(guid)s, %(type)s, %(occurredAt)s, %(userId)s, %(anonymousId)s)",
                events,
            )
        if not data_first:
            await self._add_data(data)

    async def _add_data(self, rows: list[tuple[str, str, str]]) -> None:
        async with self.connection.cursor() as cursor:
            await cursor.executemany(
                'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)', rows
            )

    async def _scan(self, limit: int) -> None:
        scanner = RowScanner(NOBODY, limit, move_limit=2)
        cursor, locked = SCAN_START, limit
        while locked == limit:
            scanned = await self._transact(
                lambda connection: scanner.resolve_next(connection, cursor)  # noqa: B023 - awaited at once
            )
            cursor, locked = scanned.cursor, scanned.locked

    def _on_one(self, statement: str, which: int, value: str = "") -> None:
        if self.guids:
            guid = self.guids[which % len(self.guids)]
            self.run(self._execute(statement, guid=guid, value=value))

    async def _execute(self, statement: str, **values: str) -> None:
        await self.connection.execute(statement.encode(), values)

    async def _transact(self, work: Any) -> Any:
        async with self.connection.transaction():
            return await work(self.connection)

    async def _step(self, crash: Crash) -> StepResult:
        if crash not in {Crash.BEFORE, Crash.DURING}:
            step: StepResult = await self._transact(
                lambda connection: self.properties.run_step(connection, self.now)
            )
            return step
        async with await connect(self.url, "test", BY_KEY) as doomed:
            with pytest.raises(psycopg.OperationalError):
                await self._doomed_step(doomed, crash)
        return StepResult(0, StepCounts(), more=False)

    async def _doomed_step(self, doomed: psycopg.AsyncConnection[Any], crash: Crash) -> None:
        async with doomed.transaction():
            if crash is Crash.DURING:
                await self.properties.run_step(doomed, self.now)
            await self.connection.execute(
                "SELECT pg_terminate_backend(%s, 5000)", (doomed.info.backend_pid,)
            )
            await self.properties.run_step(doomed, self.now)

    async def _finish(self) -> None:
        await self._scan(100)
        while await self._transact(lambda connection: move_some(connection, 100)) is not None:
            pass
        while (await self._step(Crash.NEVER)).more:
            pass
        await self._compare(self.connection)
        report = await audit(self.connection, self.now, lambda _: None)
        assert report.disagreements == []
        assert (report.pending, report.backfilling) == (0, 0)
        await self.connection.close()

    async def _compare(self, connection: psycopg.AsyncConnection[Any]) -> None:
        made = [stored.rule for stored in await rule_store.read_rules(connection)]
        wanted: dict[tuple[str, str], list[str]] = {}
        cursor = await connection.execute(EVENTS)
        profiles: dict[str, tuple[str | None, list[ReferenceEvent]]] = {}
        for profile, owner, guid, at, kind, user_id, ip_address, data in await cursor.fetchall():
            events = profiles.setdefault(profile, (owner, []))[1]
            if guid is not None:
                events.append(ReferenceEvent(guid, at, kind, user_id, ip_address, data or {}))
        for profile, (owner, events) in profiles.items():
            for one in made:
                if one.identifying:
                    wanted[profile, one.key] = [owner] if owner else []
                else:
                    wanted[profile, one.key] = reference.values(one, events, self.now)
        cursor = await connection.execute(STORED)
        stored = {(profile, key): found for profile, key, found in await cursor.fetchall()}
        assert stored == {place: found for place, found in wanted.items() if found}


EMPTY = (
    'TRUNCATE events, "eventData", profiles, "anonymousIds", "profileMerges", "eventMoves", '
    '"consumerOffsets", "profilePropertyRules", "profileProperties", "propertyStates", '
    '"propertyRecounts", "eventChanges"'
)
EVENTS = """
SELECT profiles.guid, profiles."userId", events.guid, events."occurredAt", events.type,
    events."userId", events."ipAddress", (
        SELECT jsonb_object_agg(key, value ORDER BY "eventData".guid)
        FROM "eventData" WHERE "eventGuid" = events.guid
    )
FROM profiles LEFT JOIN events ON events."profileGuid" = profiles.guid
"""
STORED = """
SELECT "profileGuid", key, array_agg(value ORDER BY position) FROM "profileProperties"
GROUP BY "profileGuid", key
"""


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Machine]]:
    with asyncio.Runner() as runner:
        yield type("OnThisDatabase", (Machine,), {"url": database_url, "loop": runner.get_loop()})


@pytest.mark.timeout(600)
def test_whatever_happens_to_events_properties_end_as_a_recount_of_what_is_there(
    machine: type[Machine],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples.count(fast=12, full=60),
            stateful_step_count=30,
            deadline=None,
            # Shrinking on a real database takes minutes; the steps of a failure are few as it is.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
