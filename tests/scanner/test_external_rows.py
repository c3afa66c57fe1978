"""Rows that other systems insert are resolved by the same rules as events over HTTP."""

from datetime import timedelta

from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

SCANNED = "merganser_scanner_rows_resolved_total"


async def test_rows_with_one_id_or_two(system: System) -> None:
    """A link merges an anonymous profile into the profile of a user."""
    scanner = await system.scanner()
    await system.database.execute("""
        INSERT INTO events (type, "userId", "anonymousId") VALUES
            ('refund', '123', NULL), ('pageview', NULL, 'person_1'), ('other', NULL, 'person_2')
    """)
    await eventually(system.database.unresolved, equals(0))
    assert await system.database.grouping() == {
        frozenset({"refund"}),
        frozenset({"pageview"}),
        frozenset({"other"}),
    }
    await system.database.execute("""
        INSERT INTO events (type, "userId", "anonymousId") VALUES ('sign-in', '123', 'person_1')
    """)
    await eventually(system.database.unresolved, equals(0))
    assert await system.database.grouping() == {
        frozenset({"refund", "pageview", "sign-in"}),
        frozenset({"other"}),
    }
    assert await scanner.metric(SCANNED) == 4


async def test_a_row_without_a_time_occurred_when_it_was_created(system: System) -> None:
    await system.database.execute("""
        INSERT INTO events (type, "userId", "createdAt", "occurredAt") VALUES
            ('none', '1', '2020-02-02 02:02:02.000002Z', NULL),
            ('given', '1', '2020-02-02 02:02:02Z', '2019-01-01Z')
    """)
    await system.scanner()
    await eventually(system.database.unresolved, equals(0))
    rows = await system.database.rows(
        'SELECT type, "createdAt" - "occurredAt", "updatedAt" > "createdAt" FROM events '
        "ORDER BY type"
    )
    assert rows == [
        ("given", timedelta(days=397, seconds=7322), True),
        ("none", timedelta(0), True),
    ]


async def test_the_creation_time_decides_between_links_without_a_time(system: System) -> None:
    await system.database.execute("""
        INSERT INTO events (type, "userId", "anonymousId", "createdAt") VALUES
            ('later', 'second', 'shared', '2020-02-02'),
            ('earlier', 'first', 'shared', '2020-02-01'),
            ('view', NULL, 'shared', '2020-02-03')
    """)
    await system.scanner()
    await eventually(system.database.unresolved, equals(0))
    assert await system.database.grouping() == {
        frozenset({"later"}),
        frozenset({"earlier", "view"}),
    }


async def test_rows_and_events_of_one_person_are_on_one_profile(system: System) -> None:
    await system.database.execute(
        """INSERT INTO events (type, "anonymousId") VALUES ('row', 'person_1')"""
    )
    await system.resolver()
    await system.scanner()
    await system.events.publish_events(
        [event(anonymous="person_1", kind="event"), event("123", "person_1", kind="sign-in")]
    )
    await eventually(lambda: system.database.count("events"), equals(3))
    await eventually(system.database.unresolved, equals(0))
    assert await system.database.grouping() == {frozenset({"row", "event", "sign-in"})}


async def test_a_row_with_an_earlier_created_at_is_found(system: System) -> None:
    """A transaction may commit long after its rows' createdAt."""
    await system.scanner()
    for day in ("2020-02-02", "2020-02-01", "0001-01-01", "9999-12-31"):
        await system.database.execute(
            """INSERT INTO events (type, "userId", "createdAt") VALUES ('t', '1', %s)""", day
        )
        await eventually(system.database.unresolved, equals(0))


async def test_more_rows_than_a_batch_in_one_go(system: System) -> None:
    """Full batches follow at once: one interval would be too long for this test."""
    await system.database.execute("""
        INSERT INTO events (type, "anonymousId") SELECT 't', 'a' || n FROM generate_series(1, 95) n
    """)
    await system.scanner(scanner_batch=10, scanner_interval=3600)
    await eventually(system.database.unresolved, equals(0))
    assert await system.database.count("profiles") == 95


async def test_a_stopped_scanner_finishes_its_batch_and_the_next_one_continues(
    system: System,
) -> None:
    await system.database.execute("""
        INSERT INTO events (type, "anonymousId")
        SELECT 't' || n, 'a' || n % 100 FROM generate_series(1, 3000) n
    """)
    first = await system.scanner(scanner_batch=5)
    await eventually(system.database.unresolved, lambda left: left < 3000)
    assert await first.stop() == 0
    assert await system.database.unresolved() > 0, "make it larger"
    await system.scanner()
    await eventually(system.database.unresolved, equals(0))
    assert len(await system.database.grouping()) == 100
