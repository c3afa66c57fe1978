"""Rows with suppressed ids: what the scanner keeps of them, also after a crash."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from merganser.runtime.postgres import connect
from scanner.scan import SCAN_START, RowScanner, ScannedRows
from schemas.ids import NOBODY
from tests.support.database import Database

ROWS = """
    INSERT INTO events (guid, type, "userId", "anonymousId", "createdAt") VALUES
        ('evt_a', 'a', 'ann', NULL, '2020-01-01'),
        ('evt_b', 'b', 'ann', 'tablet', '2020-01-02'),
        ('evt_c', 'c', NULL, 'phone', '2020-01-03'),
        ('evt_d', 'd', 'guest', 'phone', '2020-01-04'),
        ('evt_e', 'e', 'bob', 'phone', '2020-01-05'),
        ('evt_f', 'f', 'bob', 'tablet', '2020-01-06'),
        ('evt_g', 'g', NULL, 'tablet', '2020-01-07'),
        ('evt_h', 'h', 'cat', 'phone', '2020-01-08'),
        ('evt_i', 'i', 'cat', 'null', '2020-01-09')
"""
LEFT = [
    ("e", "bob", None, "bob", True),
    ("f", "bob", "tablet", "bob", True),
    ("g", None, "tablet", "bob", True),
    ("h", "cat", None, "cat", True),
    ("i", "cat", "null", "cat", True),
]


@pytest.fixture
async def worker(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Connect to a database where `ann` and `phone` are suppressed."""
    await database.execute(
        """INSERT INTO "suppressedIds" (hash) VALUES
            ("suppressionHash"('userId', 'ann')), ("suppressionHash"('anonymousId', 'phone'))"""
    )
    async with await connect(database.url, "test") as connection:
        await connection.set_autocommit(True)
        yield connection


async def scanned(worker: psycopg.AsyncConnection[Any], *, crash: bool = False) -> ScannedRows:
    async with worker.transaction(force_rollback=crash):
        return await RowScanner(NOBODY, batch_size=100, move_limit=100).resolve_next(
            worker, SCAN_START
        )


async def left(database: Database) -> list[tuple[Any, ...]]:
    return await database.rows(
        """SELECT type, events."userId", "anonymousId", profiles."userId",
            "occurredAt" = events."createdAt" AND events."updatedAt" > events."createdAt"
        FROM events LEFT JOIN profiles ON profiles.guid = "profileGuid" ORDER BY type"""
    )


async def test_each_row_is_stored_as_its_ids_allow(
    database: Database, worker: psycopg.AsyncConnection[Any]
) -> None:
    await database.execute(ROWS)
    result = await scanned(worker)
    assert (result.locked, result.resolved, result.suppressed) == (9, 5, 4)
    assert result.plan.detached_events == {"evt_e", "evt_h"}
    assert await left(database) == LEFT
    assert await database.column('SELECT "anonymousId" FROM "anonymousIds"') == ["tablet"]
    assert await database.count("profileMerges") == 0


async def test_data_with_a_suppressed_id_is_deleted(
    database: Database, worker: psycopg.AsyncConnection[Any]
) -> None:
    await database.execute(ROWS)
    await database.execute("""
        INSERT INTO "eventData" ("eventGuid", key, value)
        SELECT guid, key, value
        FROM events, (VALUES ('device', 'phone'), ('price', '7')) AS data(key, value)
        WHERE type IN ('d', 'e', 'f')
    """)
    await scanned(worker)
    assert await database.rows(
        'SELECT "eventGuid", value FROM "eventData" ORDER BY "eventGuid", value DESC'
    ) == [("evt_e", "7"), ("evt_f", "phone"), ("evt_f", "7")]


async def test_a_batch_with_only_suppressed_devices(
    database: Database, worker: psycopg.AsyncConnection[Any]
) -> None:
    await database.execute("""
        INSERT INTO events (type, "userId", "anonymousId", "occurredAt") VALUES
            ('a', 'bob', 'phone', '2019-01-01')
    """)
    assert (await scanned(worker)).resolved == 1
    assert await left(database) == [("a", "bob", None, "bob", False)]
    assert (await scanned(worker)).locked == 0


async def test_the_same_rows_after_a_crash_have_the_same_result(
    database: Database, worker: psycopg.AsyncConnection[Any]
) -> None:
    await database.execute(ROWS)
    lost = await scanned(worker, crash=True)
    assert await database.unresolved() == 9
    assert await database.count("profiles") == 0
    assert await scanned(worker) == lost
    assert await left(database) == LEFT


async def test_each_row_is_written_once(
    database: Database, worker: psycopg.AsyncConnection[Any]
) -> None:
    """A second write would make the properties of the whole profile be computed again."""
    await database.execute('SELECT "takeNotes"(true)')
    await database.execute(ROWS)
    await scanned(worker)
    notes = await database.rows('SELECT kind, events FROM "eventChanges"')
    assert {kind for kind, _ in notes} == {"placed"}
    assert sorted(guid for _, guids in notes for guid in guids) == [f"evt_{t}" for t in "efghi"]
