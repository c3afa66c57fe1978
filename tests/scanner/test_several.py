"""Several scanners and resolvers resolve each row once, without deadlocks."""

import asyncio

from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

SCANNED = "merganser_scanner_rows_resolved_total"
ROWS = 2000


async def test_each_row_is_resolved_once_and_nothing_deadlocks(system: System) -> None:
    """Small transactions on the same few people, who share devices."""
    resolvers = await asyncio.gather(*(system.resolver(resolver_batch=7) for _ in range(2)))
    scanners = await asyncio.gather(*(system.scanner(scanner_batch=7) for _ in range(2)))
    await system.database.execute(
        """
        INSERT INTO events (type, "userId", "anonymousId", "occurredAt")
        SELECT 'row', CASE WHEN n %% 5 = 0 THEN 'u' || n %% 7 END, 'a' || n %% 31,
            timestamptz '2026-03-01 12:00Z' + (n * 7919 %% 1000) * interval '1 second'
        FROM generate_series(1, %s) n
        """,
        ROWS,
    )
    await system.events.publish_events(
        event(f"u{n % 7}" if n % 6 == 0 else None, f"a{n % 31}", at=n * 104729 % 1000)
        for n in range(1000)
    )
    await eventually(lambda: system.database.count("events"), equals(ROWS + 1000))
    await eventually(system.database.unresolved, equals(0))
    assert sum([await scanner.metric(SCANNED) for scanner in scanners]) == ROWS
    assert all([await scanner.metric(SCANNED) for scanner in scanners])
    for process in (*resolvers, *scanners):
        assert "40P01" not in process.log
        assert process.running

    # All events of an anonymousId are on the profile of the user of its earliest link.
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    misplaced = await system.database.rows("""
        WITH owners AS (
            SELECT DISTINCT ON ("anonymousId") "anonymousId", "userId" FROM events
            WHERE "userId" IS NOT NULL ORDER BY "anonymousId", "occurredAt", guid
        )
        SELECT * FROM events
        LEFT JOIN owners USING ("anonymousId")
        LEFT JOIN profiles ON profiles.guid = events."profileGuid"
        WHERE profiles."userId" IS DISTINCT FROM coalesce(events."userId", owners."userId")
    """)
    assert misplaced == []


async def test_rows_locked_by_others_are_skipped(system: System) -> None:
    await system.database.execute("""
        INSERT INTO events (type, "userId") VALUES ('held', '1'), ('free', '2')
    """)
    async with system.database.connection.transaction():
        await system.database.execute("SELECT FROM events WHERE type = 'held' FOR UPDATE")
        scanner = await system.scanner()
        await eventually(lambda: scanner.metric(SCANNED), equals(1))
        assert await system.database.column(
            'SELECT type FROM events WHERE "profileGuid" IS NOT NULL'
        ) == ["free"]
    await eventually(system.database.unresolved, equals(0))
