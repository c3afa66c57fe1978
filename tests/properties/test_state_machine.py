"""Properties equal a recomputation from the stored events, on real Postgres.

Events arrive through the resolver's writer and as external rows, late and repeated. Links claim,
merge and move. Data arrives late, changes and is deleted. Events are deleted, days pass, rules
change. The process runs a few steps at a time, and its connection breaks.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from aiokafka import TopicPartition
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
from tests.properties.strategies import DATA, MOMENT, NOW, TYPES, event_rules
from tests.support import examples
from tests.support.chunks import move_some

PARTITION = TopicPartition("events", 0)
Result = TypeVar("Result")
EventFields = tuple[datetime, str, str | None, str | None, dict[str, str]]

IDENTIFYING = Rule(key="userId", type="string", unique=True, identifying=True)
USERS, DEVICES = ["a", "b", None, None], ["d1", "d2", "d3", None]
EVENT_FIELDS = st.lists(
    st.tuples(
        MOMENT, st.sampled_from(TYPES), st.sampled_from(USERS), st.sampled_from(DEVICES), DATA
    ),
    max_size=6,
)
BROAD_SOURCES = [
    {"aggregation": "count"},
    {"aggregation": "all values", "column": "occurredAt"},
    {"aggregation": "average", "column": "data.price"},
]
"""Sources of rules whose values change with each event or its data."""
BROAD_RULES = tuple(
    Rule(
        key=f"broad{number}",
        type="float" if source["aggregation"] != "all values" else "date",
        array=source["aggregation"] == "all values",
        events={"type": TYPES, **source},
    )
    for number, source in enumerate(BROAD_SOURCES)
)
RULES = st.tuples(event_rules(key="one"), event_rules(key="two"))
ANY = st.integers(0, 200)
SELDOM = st.sampled_from([True, False, False, False, False])


class Machine(RuleBasedStateMachine):
    """One database, and the changes of its events."""

    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.offsets = itertools.count(1)
        self.guids: list[str] = []
        self.now = NOW
        self.updater = PropertyUpdater(3)
        self.writer = Writer(Offsets("group", "cluster"), 7, move_limit=2, nobody_ids=NOBODY)
        self.connection = self.run(connect(self.url, "test", BY_KEY))
        self.run(self._execute(EMPTY))

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    @initialize(fields=EVENT_FIELDS, drawn_rules=RULES)
    def begin(self, fields: list[EventFields], drawn_rules: tuple[Rule, ...]) -> None:
        """Publish some events before the first rules apply."""
        self.publish(fields)
        self.apply(drawn_rules, count=2, seldom=True)

    @rule(fields=EVENT_FIELDS)
    def publish(self, fields: list[EventFields]) -> None:
        """A resolver writes a batch."""
        events = self._events(fields)
        if events:
            self.run(self._publish(events))

    @rule(fields=EVENT_FIELDS, data_first=st.booleans())
    def insert(self, fields: list[EventFields], data_first: bool) -> None:  # noqa: FBT001 - drawn
        """Another system inserts rows, the data before or after the events."""
        self.run(self._insert(self._events(fields), data_first=data_first))

    @rule(limit=st.integers(1, 5))
    def scan(self, limit: int) -> None:
        """A scanner resolves rows."""
        self.run(self._scan(limit))

    @rule(limit=st.integers(1, 3))
    def move(self, limit: int) -> None:
        """A scanner moves a chunk of a large merge."""
        self.run(self._transact(lambda connection: move_some(connection, limit)))

    @rule(which=ANY, data=DATA)
    def add_data(self, which: int, data: dict[str, str]) -> None:
        """Another system adds data to a stored event."""
        if self.guids:
            guid = self.guids[which % len(self.guids)]
            self.run(self._add_data([(guid, key, value) for key, value in data.items()]))

    @rule(which=ANY, value=st.sampled_from(["7", "new"]))
    def change_data(self, which: int, value: str) -> None:
        """Another writer corrects data."""
        self._execute_for_event(
            'UPDATE "eventData" SET value = %(value)s WHERE "eventGuid" = %(guid)s', which, value
        )

    @rule(which=ANY)
    def delete_data(self, which: int) -> None:
        """Another writer deletes data."""
        self._execute_for_event('DELETE FROM "eventData" WHERE "eventGuid" = %(guid)s', which)

    @rule(which=ANY)
    def delete_event(self, which: int) -> None:
        """Another writer deletes an event and leaves its data."""
        self._execute_for_event("DELETE FROM events WHERE guid = %(guid)s", which)

    @rule(which=ANY, value=st.sampled_from(TYPES))
    def change_event(self, which: int, value: str) -> None:
        """Another writer corrects an event."""
        self._execute_for_event(
            "UPDATE events SET type = %(value)s WHERE guid = %(guid)s", which, value
        )

    @rule(drawn_rules=RULES, count=st.integers(0, 2), seldom=SELDOM)
    def apply(
        self,
        drawn_rules: tuple[Rule, ...],
        count: int,
        seldom: bool,  # noqa: FBT001 - drawn
    ) -> None:
        """Apply other rules, or none. Seldom, as their backfill hides earlier mistakes."""
        if seldom:
            file = RuleFile(
                rules=(IDENTIFYING, *BROAD_RULES, *drawn_rules[:count]) if count else ()
            )
            self.run(rule_store.apply_file(self.connection, file))

    @rule()
    def pass_a_day(self) -> None:
        """Windows move at midnight."""
        self.now += timedelta(days=1)

    @rule(times=st.integers(1, 2), crash=CRASHES)
    def run_one_or_two_steps(self, times: int, crash: Crash) -> None:
        """The properties process runs often, with few steps."""
        self.run_steps(times, crash)

    @rule(times=st.integers(1, 9), crash=CRASHES)
    def run_steps(self, times: int, crash: Crash) -> None:
        """The properties process runs some steps."""
        for _ in range(times):
            self.run(self._run_step(crash))

    def teardown(self) -> None:
        """Run everything to its end, then compare all properties."""
        self.run(self._finish())

    def _events(self, fields: list[EventFields]) -> list[wire.Event]:
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
            for moment, kind, user_id, device, data in fields
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

    def _execute_for_event(self, statement: str, which: int, value: str = "") -> None:
        if self.guids:
            guid = self.guids[which % len(self.guids)]
            self.run(self._execute(statement, guid=guid, value=value))

    async def _execute(self, statement: str, **values: str) -> None:
        await self.connection.execute(statement.encode(), values)

    async def _transact(self, work: Any) -> Any:
        async with self.connection.transaction():
            return await work(self.connection)

    async def _run_step(self, crash: Crash) -> StepResult:
        if crash not in {Crash.BEFORE, Crash.DURING}:
            step: StepResult = await self._transact(
                lambda connection: self.updater.run_step(connection, self.now)
            )
            return step
        async with await connect(self.url, "test", BY_KEY) as doomed:
            with pytest.raises(psycopg.OperationalError):
                await self._run_step_and_kill(doomed, crash)
        return StepResult(0, StepCounts(), more=False)

    async def _run_step_and_kill(self, doomed: psycopg.AsyncConnection[Any], crash: Crash) -> None:
        async with doomed.transaction():
            if crash is Crash.DURING:
                await self.updater.run_step(doomed, self.now)
            await self.connection.execute(
                "SELECT pg_terminate_backend(%s, 5000)", (doomed.info.backend_pid,)
            )
            await self.updater.run_step(doomed, self.now)

    async def _finish(self) -> None:
        await self._scan(100)
        while await self._transact(lambda connection: move_some(connection, 100)) is not None:
            pass
        while (await self._run_step(Crash.NEVER)).more:
            pass
        await self._compare(self.connection)
        report = await audit(self.connection, self.now, lambda _: None)
        assert report.disagreements == []
        assert (report.pending, report.backfilling) == (0, 0)
        await self.connection.close()

    async def _compare(self, connection: psycopg.AsyncConnection[Any]) -> None:
        applied = [stored.rule for stored in await rule_store.read_rules(connection)]
        wanted: dict[tuple[str, str], list[str]] = {}
        cursor = await connection.execute(EVENTS)
        profiles: dict[str, tuple[str | None, list[ReferenceEvent]]] = {}
        for profile, owner, guid, at, kind, user_id, ip_address, data in await cursor.fetchall():
            events = profiles.setdefault(profile, (owner, []))[1]
            if guid is not None:
                events.append(ReferenceEvent(guid, at, kind, user_id, ip_address, data or {}))
        for profile, (owner, events) in profiles.items():
            for applied_rule in applied:
                if applied_rule.identifying:
                    wanted[profile, applied_rule.key] = [owner] if owner else []
                else:
                    wanted[profile, applied_rule.key] = reference.compute_values(
                        applied_rule, events, self.now
                    )
        cursor = await connection.execute(STORED)
        stored = {(profile, key): found for profile, key, found in await cursor.fetchall()}
        assert stored == {property_: found for property_, found in wanted.items() if found}


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
def test_properties_equal_a_recomputation_from_the_stored_events(
    machine: type[Machine],
) -> None:
    run_state_machine_as_test(machine, settings=examples.machine(steps=30, fast=12, full=60))
