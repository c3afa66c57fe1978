"""Batches, rows, moves and crashes in any order on a real Postgres keep identity correct."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

import psycopg
import pytest
from aiokafka import TopicPartition
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from merganser.identity.audit import audit
from merganser.identity.unlink import Direction, LinkChange, NotALink, Unlinker
from merganser.runtime.postgres import connect
from resolver import decode
from resolver.offsets import Fenced, Offsets
from resolver.writer import Writer
from scanner.scan import SCAN_START, RowScanner
from schemas import event as wire
from schemas.dead_letter import Header
from schemas.ids import NOBODY, somebody
from tests.identity.histories import DEVICES, USERS, at, guid_of
from tests.identity.misplaced import misplaced
from tests.identity.reference import SentEvent, grouping
from tests.support import examples
from tests.support.chunks import move_some

PARTITION = TopicPartition("events", 0)
PUBLISHABLE_KEY = "key_of_a_page"
Result = TypeVar("Result")


class Crash(Enum):
    """When Postgres terminates the worker's connection."""

    NEVER = "never"
    BEFORE = "before any write"
    DURING = "after the writes, before the commit"
    AFTER = "after the commit, before the worker knows"


CRASHES = st.sampled_from([Crash.NEVER, Crash.NEVER, *Crash])
SECONDS = st.integers(0, 6)
SentIds = tuple[int, str | None, str | None, int | None]
SENT = st.lists(
    st.tuples(SECONDS, st.sampled_from(USERS), st.sampled_from(DEVICES), st.none() | SECONDS),
    max_size=6,
)
"""When it occurred, userId, anonymousId, and when it was received over a publishable key."""
SHARED = st.lists(
    st.tuples(
        SECONDS,
        st.sampled_from(["a", "b", None]),
        st.sampled_from(["d1", "d2"]),
        st.none() | SECONDS,
    ),
    min_size=4,
    max_size=10,
)


@dataclass
class Record:
    """A record of the topic."""

    offset: int
    value: bytes | None
    topic: str = PARTITION.topic
    partition: int = PARTITION.partition
    key: bytes | None = None
    headers: Sequence[Header] = (wire.VERSION_HEADER,)
    timestamp: int = 0


class Machine(RuleBasedStateMachine):
    """One database, one partition, and workers that crash."""

    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.history: list[SentEvent] = []
        self.numbers = itertools.count()
        self.published: list[SentEvent] = []
        self.ignored: set[str] = set()
        """Guids of events that are not links."""
        self.log: list[decode.Record] = []
        self.writer = Writer(Offsets("group", "cluster"), 7, move_limit=3, nobody_ids=NOBODY)
        self.run(self._empty())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    @initialize(sent=SHARED)
    def begin(self, sent: list[SentIds]) -> None:
        """Resolve events of people who share devices."""
        self.publish(sent, [])
        self.consume(100, Crash.NEVER)

    @rule(sent=SENT, again=st.lists(st.tuples(st.integers(0, 200), SECONDS), max_size=6))
    def publish(self, sent: list[SentIds], again: list[tuple[int, int]]) -> None:
        """Publish new events, and some earlier ones again, with another time of receipt."""
        for event in self._sent_events(sent):
            if somebody(event.user_id, NOBODY) or somebody(event.anonymous_id, NOBODY):
                self.history.append(event)
                self._publish(event)
        for number, second in again:
            if self.published:
                event = self.published[number % len(self.published)]
                repeated = event._replace(received_at=event.received_at and at(second))
                self._publish(repeated)
                self.history = [_earlier_receipt(event, repeated) for event in self.history]

    @rule(sent=SENT)
    def insert(self, sent: list[SentIds]) -> None:
        """Insert rows as another system does; some have placeholder ids."""
        events = self._sent_events(sent)
        self.history += events
        self.run(self._insert(events))

    @rule(limit=st.integers(1, 8), crash=CRASHES)
    def consume(self, limit: int, crash: Crash) -> None:
        """Resolve a batch of records, as a resolver does."""
        self.run(self._consume(limit, crash))

    @rule(limit=st.integers(1, 5), crash=CRASHES)
    def scan(self, limit: int, crash: Crash) -> None:
        """Resolve rows in batches, as a scanner does."""
        self.run(self._scan(limit, crash))

    @rule(limit=st.integers(1, 3), crash=CRASHES)
    def move(self, limit: int, crash: Crash) -> None:
        """Move a chunk of a pending move."""
        self.run(self._move(limit, crash))

    @rule(which=st.integers(0, 200), every=st.booleans(), crash=CRASHES)
    def unlink(self, which: int, every: bool, crash: Crash) -> None:  # noqa: FBT001 - drawn
        """Ignore an event, or all with its ids, as a link, as an operator does."""
        if event := self._pick(which):
            links = self.run(self._links_like(event.guid)) if every else {event.guid}
            if change := self.run(self._change("unlink", event.guid, crash, every=every)):
                assert change.links == len(links - self.ignored)
                self.ignored |= links

    @rule(which=st.integers(0, 200), every=st.booleans(), crash=CRASHES)
    def relink(self, which: int, every: bool, crash: Crash) -> None:  # noqa: FBT001 - drawn
        """Let an ignored event, or all with its ids, be links again."""
        if self.ignored:
            event = sorted(self.ignored)[which % len(self.ignored)]
            links = self.run(self._links_like(event)) if every else {event}
            if change := self.run(self._change("relink", event, crash, every=every)):
                assert change.links == len(links & self.ignored)
                self.ignored -= links

    def teardown(self) -> None:
        """Finish all work, then compare with the definition."""
        self.run(self._finish())

    def _publish(self, event: SentEvent) -> None:
        self.published.append(event)
        self.log.append(Record(len(self.log), value_of(event)))

    def _sent_events(self, sent: list[SentIds]) -> list[SentEvent]:
        return [
            SentEvent(
                guid_of(next(self.numbers)),
                at(second),
                user_id,
                anonymous_id,
                None if received is None else at(received),
            )
            for second, user_id, anonymous_id, received in sent
        ]

    async def _empty(self) -> None:
        async with await connect(self.url, "test") as connection:
            await connection.execute(
                'TRUNCATE events, "eventData", profiles, "anonymousIds", "profileMerges", '
                '"eventMoves", "consumerOffsets", "ignoredLinks", "linkChanges"'
            )
            await connection.execute(
                'INSERT INTO "apiKeys" (guid, name, "keyHash", permissions, kind) '
                "VALUES (%s, 'page', 'hash', '{events:write}', 'publishable') "
                "ON CONFLICT DO NOTHING",
                (PUBLISHABLE_KEY,),
            )

    async def _insert(self, events: list[SentEvent]) -> None:
        async with await connect(self.url, "test") as connection, connection.cursor() as cursor:
            await cursor.executemany(
                'INSERT INTO events (guid, type, "occurredAt", "userId", "anonymousId", '
                '"createdAt", "producerGuid") '
                "VALUES (%s, 'row', %s, %s, %s, coalesce(%s, now()), %s)",
                [(*event, producer_of(event)) for event in events],
            )

    async def _consume(self, limit: int, crash: Crash) -> bool:
        async with await connect(self.url, "test") as connection:
            stored = await self.writer.offsets.read_or_create(connection, {PARTITION: 0})
            old_offsets = {PARTITION: stored[PARTITION].next_offset}
        start = old_offsets[PARTITION]
        records = self.log[start : start + limit]
        if not records:
            return False
        batch = decode.decode_records({PARTITION: records}, NOBODY)
        assert not batch.dead_letters

        async def work(connection: psycopg.AsyncConnection[Any]) -> object:
            return await self.writer.write(connection, batch, old_offsets)

        await self._attempt(work, crash)
        if crash is Crash.AFTER:
            with pytest.raises(Fenced):  # it was committed: the worker retries the same batch
                await self._attempt(work, Crash.NEVER)
        return True

    async def _scan(self, limit: int, crash: Crash) -> int:
        scanner = RowScanner(NOBODY, limit, move_limit=2)
        cursor, locked = SCAN_START, limit
        while locked == limit:

            async def work(connection: psycopg.AsyncConnection[Any]) -> Any:
                return await scanner.resolve_next(connection, cursor)  # noqa: B023 - awaited at once

            scanned = await self._attempt(work, crash)
            if scanned is None:
                return 0
            cursor, locked = scanned.cursor, scanned.locked
        return locked

    async def _move(self, limit: int, crash: Crash) -> int | None:
        async def work(connection: psycopg.AsyncConnection[Any]) -> int | None:
            return await move_some(connection, limit)

        moved: int | None = await self._attempt(work, crash)
        return moved

    def _pick(self, which: int) -> SentEvent | None:
        return self.history[which % len(self.history)] if self.history else None

    async def _links_like(self, event: str) -> set[str]:
        """Return the guids of the stored events with the two ids of an event."""
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute(
                'SELECT same.guid FROM events JOIN events AS same USING ("userId", "anonymousId") '
                'WHERE events.guid = %s AND same."profileGuid" IS NOT NULL '
                'AND same."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)',
                (event,),
            )
            return {guid for (guid,) in await cursor.fetchall()}

    async def _change(
        self, direction: Direction, event: str, crash: Crash, *, every: bool
    ) -> LinkChange | None:
        """Return None if the transaction crashes, or if the event is not a stored link."""

        async def work(connection: psycopg.AsyncConnection[Any]) -> LinkChange | None:
            try:
                return await Unlinker(NOBODY, 2).change(
                    connection, direction, event, "me", "why", every=every
                )
            except NotALink:
                return None

        result: LinkChange | None = await self._attempt(work, crash)
        return result

    async def _attempt(self, work: Any, crash: Crash) -> Any:
        """Run a transaction; terminate its connection at the time of the crash."""
        connection = await connect(self.url, "test")
        try:
            async with connection.transaction():
                if crash is Crash.BEFORE:
                    await self._kill(connection)
                result = await work(connection)
                if crash is Crash.DURING:
                    await self._kill(connection)
        except psycopg.OperationalError:
            assert crash in {Crash.BEFORE, Crash.DURING}
            return None
        else:
            return result
        finally:
            await connection.close()

    async def _kill(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with await connect(self.url, "test") as other:
            await other.execute(
                "SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,)
            )

    async def _finish(self) -> None:
        while await self._consume(100, Crash.NEVER):
            pass
        await self._scan(100, Crash.NEVER)
        while await self._move(100, Crash.NEVER) is not None:
            pass
        async with await connect(self.url, "test") as connection:
            cursor = await connection.execute('SELECT guid, "profileGuid" FROM events')
            stored = dict(await cursor.fetchall())
            assert len(stored) == len(self.history), "each event is one row"
            await self._check_receipts(connection)
            assert next(misplaced(stored, grouping(self.history, self.ignored)), None) is None
            report = await audit(connection, NOBODY, lambda _: None)
            assert report.disagreements == []
            assert report.moves_in_progress == 0

    async def _check_receipts(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Check that each row over a publishable key has its event's earliest time of receipt."""
        cursor = await connection.execute(
            'SELECT guid, "createdAt" FROM events WHERE "producerGuid" = %s', (PUBLISHABLE_KEY,)
        )
        assert dict(await cursor.fetchall()) == {
            event.guid: event.received_at for event in self.history if event.received_at
        }


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Machine]]:
    with asyncio.Runner() as runner:
        yield type("OnThisDatabase", (Machine,), {"url": database_url, "loop": runner.get_loop()})


@pytest.mark.timeout(600)
def test_any_interleaving_and_crashes_give_the_groups_of_the_definition(
    machine: type[Machine],
) -> None:
    run_state_machine_as_test(machine, settings=examples.machine(steps=15, fast=10, full=40))


def value_of(event: SentEvent) -> bytes:
    return wire.encode(
        {
            "guid": event.guid,
            "producerGuid": producer_of(event),
            "ipAddress": None,
            "createdAt": event.received_at or datetime.now(UTC),
            "occurredAt": event.occurred_at,
            "type": "record",
            "userId": somebody(event.user_id, NOBODY),
            "anonymousId": somebody(event.anonymous_id, NOBODY),
            "data": {},
        }
    )


def _earlier_receipt(event: SentEvent, repeated: SentEvent) -> SentEvent:
    """Return the event with the time of a repeated one, if it is the same and came earlier."""
    earlier = event.guid == repeated.guid and event.link_order > repeated.link_order
    return event._replace(received_at=repeated.received_at) if earlier else event


def producer_of(event: SentEvent) -> str | None:
    return PUBLISHABLE_KEY if event.received_at else None
