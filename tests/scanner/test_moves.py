"""A large merge changes identity at once; the scanner moves the events in chunks."""

from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

MOVED = "merganser_scanner_events_moved_total"


async def publish_many_anonymous_events(system: System, count: int = 100) -> str:
    """Publish an event of user 123 and many of person_1; return the profile of person_1."""
    await system.events.publish_events(
        [event("123", kind="sign-up", at=-1)]
        + [event(anonymous="person_1", kind=f"view-{n}", at=n) for n in range(count)]
    )
    await eventually(lambda: system.database.count("events"), equals(count + 1))
    return str(await system.database.value('SELECT "profileGuid" FROM "anonymousIds"'))


async def test_the_events_of_a_large_merge_move_in_chunks(system: System) -> None:
    await system.resolver(resolver_move=10)
    loser = await publish_many_anonymous_events(system)
    survivor = await system.database.profile_of("123")
    await system.events.publish_events([event("123", "person_1", kind="sign-in", at=200)])
    await eventually(lambda: system.database.count("profileMerges"), equals(1))

    # The merged profile is deleted at once, and new events are on the survivor.
    assert await system.database.column("SELECT guid FROM profiles") == [survivor]
    left = 'SELECT count(*) FROM events WHERE "profileGuid" = %s'
    assert await system.database.value(left, loser) == 90
    await system.events.publish_events([event(anonymous="person_1", kind="new", at=201)])
    await eventually(lambda: system.database.count("events"), equals(103))
    assert await system.database.value(left, survivor) == 13

    scanner = await system.scanner(scanner_move=7)
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    assert len(await system.database.grouping()) == 1
    assert await eventually(lambda: scanner.metric(MOVED), equals(90)) == 90
    await eventually(lambda: scanner.metric("merganser_scanner_moves_pending"), equals(0))


async def test_a_merge_by_an_external_row_is_chunked_too(system: System) -> None:
    await system.resolver()
    await publish_many_anonymous_events(system)
    await system.database.execute("""
        INSERT INTO events (type, "userId", "anonymousId") VALUES ('sign-in', '123', 'person_1')
    """)
    await system.scanner(scanner_move=10)
    await eventually(system.database.unresolved, equals(0))
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    assert len(await system.database.grouping()) == 1


async def test_an_owner_that_changes_while_events_move(system: System) -> None:
    """An earlier link arrives before the scanner has moved all events to the first owner."""
    await system.resolver(resolver_move=10)
    await publish_many_anonymous_events(system)
    await system.events.publish_events([event("123", "person_1", kind="late", at=500)])
    await eventually(lambda: system.database.count("profileMerges"), equals(1))
    await system.events.publish_events([event("456", "person_1", kind="early", at=-500)])
    await eventually(lambda: system.database.count("profileMerges"), equals(2))
    await system.scanner(scanner_move=7)
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    assert await system.database.grouping() == {
        frozenset({"sign-up", "late"}),
        frozenset({"early"} | {f"view-{n}" for n in range(100)}),
    }


async def test_two_scanners_move_together(system: System) -> None:
    await system.resolver(resolver_move=10)
    await publish_many_anonymous_events(system, count=400)
    await system.events.publish_events([event("123", "person_1", kind="sign-in", at=500)])
    await eventually(lambda: system.database.count("profileMerges"), equals(1))
    scanners = [await system.scanner(scanner_move=3) for _ in range(2)]
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    assert len(await system.database.grouping()) == 1
    for scanner in scanners:
        assert scanner.running
