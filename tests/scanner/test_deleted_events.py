"""The scanner deletes the hashes of deleted events that the topic no longer has."""

from datetime import timedelta

import pytest

from merganser.runtime.postgres import connect
from scanner import deleted_events
from tests.support.database import Database
from tests.support.system import System
from tests.support.waiting import equals, eventually

AGES = [1, 7, 9, 30, 40, 50, 400]
"""Days."""


async def insert_hashes(database: Database) -> None:
    await database.execute(
        """INSERT INTO "deletedEvents" (hash, "deletedAt")
        SELECT sha256(age::text::bytea), now() - age * interval '1 day'
        FROM unnest(%s::int[]) AS ages (age)""",
        AGES,
    )


async def ages(database: Database) -> list[int]:
    return await database.column(
        """SELECT round(extract(epoch FROM now() - "deletedAt") / 86400)::int
        FROM "deletedEvents" ORDER BY 1"""
    )


@pytest.mark.parametrize(("retention", "left"), [(1, [1, 7]), (30, [1, 7, 9, 30]), (0, AGES)])
async def test_hashes_older_than_the_topic_are_deleted(
    system: System, retention: int, left: list[int]
) -> None:
    """The limit is the retention and a week, as Kafka deletes whole segments; 0 keeps all."""
    await insert_hashes(system.database)
    await system.scanner(topic_retention=retention)
    await eventually(lambda: ages(system.database), equals(left))
    await system.database.execute("INSERT INTO events (type, \"userId\") VALUES ('row', 'ann')")
    await eventually(system.database.unresolved, equals(0))  # the scanner still works
    assert await ages(system.database) == left


async def test_two_scanners_delete_hashes_in_chunks(database: Database) -> None:
    await insert_hashes(database)
    retention = timedelta(days=8)
    async with await connect(database.url, "one") as one, await connect(database.url, "two") as two:
        async with one.transaction(), two.transaction():
            assert await deleted_events.expire(one, retention, 2)
            assert await deleted_events.expire(two, retention, 2)
        assert await ages(database) == [1, 7, 9]
        assert not await deleted_events.expire(one, retention, 2)
    assert await ages(database) == [1, 7]
