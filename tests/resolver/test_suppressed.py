"""Events with suppressed ids: what the resolver stores of them, also after a crash."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from merganser.runtime.postgres import connect
from resolver import decode
from resolver.offsets import Fenced, Offsets
from resolver.writer import Writer, WrittenBatch
from schemas import event as wire
from schemas.event import Event
from schemas.ids import NOBODY
from tests.identity.test_machine import PARTITION, Record
from tests.support.database import Database
from tests.support.events import event

ANN, PHONE, LAPTOP = "ann", "phone-of-ann", "laptop-of-ann"


class Worker:
    """Writes batches as a resolver does."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self.writer = Writer(Offsets("group", "cluster"), 7, move_limit=100, nobody_ids=NOBODY)

    async def write(self, *events: Event, start: int = 0) -> WrittenBatch:
        """Write a batch that starts at an offset."""
        return await self.settle(read(*events, start=start))

    async def settle(self, read: decode.Batch, *, crash: bool = False) -> WrittenBatch:
        """Write a batch; with a crash, roll it back."""
        await self.writer.offsets.read_or_create(self.connection, {PARTITION: 0})
        async with self.connection.transaction(force_rollback=crash):
            return await self.writer.write(self.connection, read, read.first_offsets)


def read(*events: Event, start: int = 0) -> decode.Batch:
    records = [Record(start + n, wire.encode(one)) for n, one in enumerate(events)]
    return decode.decode_records({PARTITION: records}, NOBODY)


@pytest.fixture
async def worker(database: Database) -> AsyncIterator[Worker]:
    """Connect to a database where a user and two devices are suppressed."""
    await database.execute(
        """INSERT INTO "suppressedIds" (hash) VALUES
            ("suppressionHash"('userId', %s)),
            ("suppressionHash"('anonymousId', %s)),
            ("suppressionHash"('anonymousId', %s))""",
        ANN,
        PHONE,
        LAPTOP,
    )
    async with await connect(database.url, "test") as connection:
        await connection.set_autocommit(True)
        yield Worker(connection)


async def stored(database: Database) -> list[tuple[Any, ...]]:
    return await database.rows(
        'SELECT type, events."userId", "anonymousId", profiles."userId" '
        'FROM events JOIN profiles ON profiles.guid = "profileGuid" ORDER BY type'
    )


def mixed() -> list[Event]:
    return [
        event(ANN, kind="a"),
        event(ANN, "tablet", kind="b", at=1),
        event(ANN, PHONE, kind="c", at=2),
        event(None, PHONE, kind="d", at=3),
        event("bob", PHONE, kind="e", at=4, price="7"),
        event("bob", "tablet", kind="f", at=5),
        event(None, "tablet", kind="g", at=6),
        event("cat", LAPTOP, kind="h", at=7),
        event("dan", kind="i", at=8),
    ]


LEFT = [
    ("e", "bob", None, "bob"),
    ("f", "bob", "tablet", "bob"),
    ("g", None, "tablet", "bob"),
    ("h", "cat", None, "cat"),
    ("i", "dan", None, "dan"),
]


async def test_each_event_is_stored_as_its_ids_allow(database: Database, worker: Worker) -> None:
    written = await worker.write(*mixed())
    assert await stored(database) == LEFT
    assert (len(written.events), written.suppressed, written.repeated) == (5, 4, 0)
    assert len(written.plan.detached_events) == 2
    assert [one["type"] for one in written.events] == list("efghi")
    assert await database.column('SELECT "anonymousId" FROM "anonymousIds"') == ["tablet"]
    assert await database.count("profileMerges") == 0
    assert await database.column('SELECT value FROM "eventData"') == ["7"]


async def test_data_with_a_suppressed_id_is_not_stored(database: Database, worker: Worker) -> None:
    """Clients repeat the ids of a device among an event's properties."""
    await worker.write(
        event("bob", PHONE, previousId=PHONE, device=LAPTOP, url="/start"),
        event("bob", "tablet", at=1, previousId=PHONE),
    )
    assert await database.rows('SELECT key, value FROM "eventData" ORDER BY key') == [
        ("device", LAPTOP),
        ("previousId", PHONE),
        ("url", "/start"),
    ]


async def test_a_user_id_and_an_equal_anonymous_id_are_different(
    database: Database, worker: Worker
) -> None:
    await worker.write(event(PHONE, ANN, kind="a"))
    assert await stored(database) == [("a", PHONE, ANN, PHONE)]


async def test_a_suppressed_device_merges_nothing(database: Database, worker: Worker) -> None:
    await worker.write(event("bob", PHONE, kind="a", at=1), event("cat", PHONE, kind="b"))
    await worker.write(event(None, PHONE, kind="c"), event("bob", PHONE, kind="d"), start=2)
    assert await stored(database) == [
        ("a", "bob", None, "bob"),
        ("b", "cat", None, "cat"),
        ("d", "bob", None, "bob"),
    ]
    assert await database.count("anonymousIds") == 0
    assert await database.count("profileMerges") == 0


async def test_the_same_batch_after_a_crash_has_the_same_result(
    database: Database, worker: Worker
) -> None:
    same = read(*mixed())
    lost = await worker.settle(same, crash=True)
    assert await stored(database) == []
    assert await worker.settle(same) == lost
    assert await stored(database) == LEFT
    with pytest.raises(Fenced):  # it was committed before
        await worker.settle(same)
    assert await stored(database) == LEFT


async def test_a_repeated_event_is_one_row(database: Database, worker: Worker) -> None:
    """In one batch, in a later one, and after its device was readmitted."""
    one = event("bob", PHONE, kind="a")
    written = await worker.write(one, one)
    assert (len(written.events), written.repeated) == (1, 1)
    written = await worker.write(one, start=2)
    assert (len(written.events), written.repeated, written.suppressed) == (0, 1, 0)
    assert not written.plan.detached_events
    await database.execute('DELETE FROM "suppressedIds"')
    await worker.write(one, event(None, PHONE, kind="b", at=1), start=3)
    assert await stored(database) == [("a", "bob", None, "bob"), ("b", None, PHONE, None)]
