"""How the properties process follows changes of events: one case per test, on real Postgres.

test_state_machine.py finds cases that this file does not have.
"""

from datetime import timedelta

import pytest

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime.postgres import connect
from properties.rebuild import MAX_PROFILES
from tests.properties.harness import COUNT, PATHS, PropertyHarness
from tests.support.database import Database


@pytest.fixture
async def harness(database: Database) -> PropertyHarness:
    """Apply two rules, finish their backfill, and create the profile pro_1."""
    harness = PropertyHarness(database)
    await harness.apply(COUNT, PATHS)
    await harness.run_steps()  # a running backfill would fix mistakes of later steps
    await harness.add_profile("pro_1")
    return harness


async def test_new_events_are_counted_without_reading_old_events(harness: PropertyHarness) -> None:
    """Deleting old events without event changes does not change the counts."""
    await harness.add_views("pro_1", range(1000))
    await harness.run_steps()
    await harness.database.execute("SET session_replication_role = replica")
    await harness.database.execute("DELETE FROM events")
    await harness.database.execute("SET session_replication_role = origin")
    await harness.add_views("pro_1", [2000, -5])
    (step, *_) = await harness.run_steps()
    assert (step.events, step.counts.rebuilt) == (2, 0)
    assert await harness.read_values("pro_1", "visits") == ["1002"]


async def test_a_late_event_is_counted_in_its_order(harness: PropertyHarness) -> None:
    await harness.add_views("pro_1", [10], path="/b")
    await harness.run_steps()
    await harness.add_views("pro_1", [5], path="/a")
    assert sum(step.counts.rebuilt for step in await harness.run_steps()) == 0
    assert await harness.read_values("pro_1", "paths") == ["/a", "/b"]


async def test_data_that_arrives_after_its_event_is_counted(harness: PropertyHarness) -> None:
    (event,) = await harness.add_views("pro_1", [10])
    await harness.run_steps()
    await harness.database.execute(
        "INSERT INTO \"eventData\" (\"eventGuid\", key, value) VALUES (%s, 'path', '/late')", event
    )
    await harness.run_steps()
    assert await harness.read_values("pro_1", "paths") == ["/late"]
    assert await harness.read_values("pro_1", "visits") == ["1"]


async def test_an_event_that_moves_before_it_is_counted_counts_once(
    harness: PropertyHarness,
) -> None:
    await harness.add_profile("pro_2")
    (event,) = await harness.add_views("pro_1", [1])
    await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_2'""")
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["0"]
    assert await harness.read_values("pro_2", "visits") == ["1"]
    await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_1'""")
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["1"]
    assert await harness.read_values("pro_2", "visits") == ["0"]
    await harness.database.execute("DELETE FROM events WHERE guid = %s", event)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["0"]


async def test_a_merged_profile_leaves_no_properties(harness: PropertyHarness) -> None:
    await harness.add_profile("pro_2", "123")
    await harness.add_views("pro_1", [1, 2])
    await harness.add_views("pro_2", [3])
    await harness.run_steps()
    async with harness.database.connection.transaction():
        await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_2'""")
        await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await harness.run_steps()
    assert await harness.read_values("pro_2", "visits") == ["3"]
    for table in ("profileProperties", "propertyStates"):
        names = await harness.database.column(f'SELECT "profileGuid" FROM "{table}"')
        assert set(names) == {"pro_2"}


async def test_late_events_are_counted_during_a_rebuild(
    database: Database,
) -> None:
    """The rebuild has reached 12:00:02; one event arrives before that time and one after it."""
    harness = PropertyHarness(database, batch=2)
    await harness.apply(COUNT, PATHS)
    await harness.add_profile("pro_1")
    (deleted, *_) = await harness.add_views("pro_1", range(6), path="/old")
    await harness.run_steps()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", deleted)
    await harness.run_step()
    started = 'SELECT "reachedAt" IS NOT NULL FROM "propertyRecounts"'
    while await harness.database.column(started) != [True]:
        await harness.run_step()
    reached = await harness.database.value('SELECT "reachedGuid" FROM "propertyRecounts"')
    assert reached not in (None, "evt_000005"), "the rebuild is neither at its start nor at its end"
    await harness.add_views("pro_1", [0, 100])
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["7"]
    assert await harness.find_disagreements() == []


async def test_deleting_an_event_restarts_a_running_rebuild(database: Database) -> None:
    harness = PropertyHarness(database, batch=2)
    await harness.apply(COUNT)
    await harness.add_profile("pro_1")
    (first, second, *_) = await harness.add_views("pro_1", range(6))
    await harness.run_steps()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", first)
    started = 'SELECT "reachedAt" IS NOT NULL FROM "propertyRecounts"'
    while await harness.database.column(started) != [True]:
        await harness.run_step()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", second)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["4"]


async def test_a_rebuild_starts_only_when_no_event_change_waits(database: Database) -> None:
    """Otherwise an event whose event change waits would count twice."""
    harness = PropertyHarness(database, batch=3)
    await harness.apply(COUNT)
    await harness.run_steps()
    await harness.add_profile("pro_1")
    (deleted, *_) = await harness.add_views("pro_1", [10, 20, 30])
    await harness.run_steps()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", deleted)
    await harness.add_views("pro_1", [40, 50])
    await harness.add_views("pro_1", [1])
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["5"]


async def test_a_rebuild_finishes_under_traffic(database: Database) -> None:
    harness = PropertyHarness(database, batch=3)
    await harness.add_views(await harness.add_profile("pro_1"), range(9))
    await harness.apply(COUNT)
    for turn in range(30):
        await harness.add_views("pro_1", [100 + turn])
        await harness.run_step()
    assert await harness.read_values("pro_1", "visits") == ["39"]


async def test_a_rebuild_of_many_events_does_not_delay_other_rebuilds(database: Database) -> None:
    """Even if it begins again and again."""
    harness = PropertyHarness(database, batch=10)
    await harness.apply(COUNT)
    events = {
        number: await harness.add_views(await harness.add_profile(f"pro_{number}"), range(count))
        for number, count in enumerate([100, 100, 2, 2])
    }
    await harness.run_steps()
    deleted = [events[2][0], events[3][0]]
    await harness.database.execute("DELETE FROM events WHERE guid = ANY(%s)", deleted)
    for _ in range(4):
        first = [events[0][0], events[1][0]]
        await harness.database.execute(
            'UPDATE events SET "updatedAt" = now() WHERE guid = ANY(%s)', first
        )
        await harness.run_process(at_most=1)
    assert await harness.read_values("pro_2", "visits") == ["1"]
    assert await harness.read_values("pro_3", "visits") == ["1"]
    await harness.run_steps()
    assert await harness.find_disagreements() == []


async def test_a_rebuild_that_begins_again_and_again_does_not_delay_a_backfill(
    database: Database,
) -> None:
    harness = PropertyHarness(database, batch=10)
    await harness.apply(COUNT)
    (changed, *_) = await harness.add_views(await harness.add_profile("pro_0"), range(100))
    for number in range(1, 4):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), [1], path="/a")
    await harness.run_steps()
    await harness.apply(COUNT, PATHS)
    for _ in range(4):
        await harness.database.execute(
            'UPDATE events SET "updatedAt" = now() WHERE guid = %s', changed
        )
        await harness.run_process(at_most=1)
    for number in range(1, 4):
        assert await harness.read_values(f"pro_{number}", "paths") == ["/a"]
    await harness.run_steps()
    assert await harness.find_disagreements() == []


async def test_a_profile_whose_transaction_is_older_than_the_rule_is_counted(
    database: Database,
) -> None:
    """Its transaction begins before the rule applies, and writes after the backfill."""
    harness = PropertyHarness(database)
    async with await connect(database.url, "test") as other:
        async with other.transaction():
            await other.execute("SELECT")
            await harness.apply(COUNT)
            await harness.run_steps()
            await PropertyHarness(Database(database.url, other)).add_views("pro_1", [1])
            await other.execute("INSERT INTO profiles (guid) VALUES ('pro_1')")
        await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["1"]


async def test_an_event_counts_once_it_has_a_time(harness: PropertyHarness) -> None:
    """Another system set the profile itself, so the scanner did not set the time."""
    await harness.database.execute(
        "INSERT INTO events (type, \"profileGuid\") VALUES ('view', 'pro_1')"
    )
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["0"]
    assert await harness.find_disagreements() == []
    await harness.database.execute('UPDATE events SET "occurredAt" = "createdAt"')
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["1"]


async def test_changed_and_deleted_data_changes_the_values(harness: PropertyHarness) -> None:
    await harness.add_views("pro_1", [1, 2], path="/a")
    await harness.run_steps()
    await harness.database.execute("""UPDATE "eventData" SET value = '/b' """)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "paths") == ["/b", "/b"]
    await harness.database.execute("""DELETE FROM "eventData" """)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "paths") == []
    await harness.database.execute("""UPDATE events SET type = 'other'""")
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["0"]


async def test_a_new_rule_counts_older_events_in_bounded_steps(
    database: Database,
) -> None:
    harness = PropertyHarness(database, batch=7)
    for number in range(5):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), range(10), path="/a")
    await harness.apply(COUNT)
    steps = await harness.run_steps()
    assert len(steps) > 50 // 7
    assert sum(step.events for step in steps) == 0, "no event is new"
    for number in range(5):
        assert await harness.read_values(f"pro_{number}", "visits") == ["10"]
    backfilled = 'SELECT "backfilledTo" IS NULL FROM "profilePropertyRules"'
    assert set(await database.column(backfilled)) == {True}


async def test_a_property_never_covers_only_some_of_the_events(database: Database) -> None:
    """A profile that is older than the rule gets an event before the backfill reaches it."""
    harness = PropertyHarness(database, batch=2)
    await harness.add_views(await harness.add_profile("pro_1"), range(9))
    await harness.apply(COUNT)
    await harness.add_views("pro_1", [10])
    more, shown = True, set[str]()
    while more:
        more = (await harness.run_step()).more
        shown.update(await harness.read_values("pro_1", "visits"))
    assert shown == {"10"}


async def test_traffic_flows_while_a_rule_is_backfilled(database: Database) -> None:
    """Events arrive for profiles before, at and behind the place that the backfill has reached."""
    harness = PropertyHarness(database, batch=5)
    await harness.apply(COUNT)
    for number in range(9):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), range(4))
    await harness.run_steps()
    await harness.apply({**COUNT, "key": "pages"})
    more = True
    rounds = 0
    while more:
        more = (await harness.run_step()).more
        rounds += 1
        if rounds <= 20:
            await harness.add_views(f"pro_{rounds % 9}", [rounds, -rounds])
            more = True
    assert rounds > 20
    for number in range(9):
        expected = 4 + 2 * sum(1 for turn in range(1, 21) if turn % 9 == number)
        assert await harness.read_values(f"pro_{number}", "pages") == [str(expected)]
    assert await harness.find_disagreements() == []


async def test_removing_a_rule_removes_its_values(harness: PropertyHarness) -> None:
    await harness.add_views("pro_1", [1, 2], path="/a")
    await harness.run_steps()
    await harness.apply(COUNT)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "paths") == []
    assert await harness.read_values("pro_1", "visits") == ["2"]


async def test_a_profile_deleted_while_no_rule_applies_leaves_no_properties(
    harness: PropertyHarness,
) -> None:
    await harness.add_views("pro_1", [1, 2], path="/a")
    await harness.run_steps()
    await rule_store.apply_file(harness.database.connection, RuleFile(rules=()))
    await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await harness.apply(COUNT)
    await harness.run_steps()
    for table in ("profileProperties", "propertyStates"):
        assert await harness.database.count(table) == 0


async def test_event_changes_are_recorded_only_while_rules_apply(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.add_views(await harness.add_profile("pro_1"), range(3))
    assert await database.count("eventChanges") == 0
    await harness.apply(COUNT)
    await harness.add_views("pro_1", range(3))
    assert await database.count("eventChanges") == 1


async def test_a_window_moves_at_midnight(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 2}})  # type: ignore[dict-item]
    await harness.add_views(await harness.add_profile("pro_1"), [-86_400, 0])
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["2"]
    harness.now += timedelta(hours=11, minutes=59)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["2"]
    harness.now += timedelta(minutes=1)
    assert await harness.find_disagreements() == [], (
        "the audit does not compare profiles whose window is due to move"
    )
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["1"]
    harness.now += timedelta(days=1)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["0"]


async def test_a_window_moves_for_any_number_of_profiles_at_once(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 1}})  # type: ignore[dict-item]
    for number in range(MAX_PROFILES + 1):
        await harness.add_views(await harness.add_profile(f"pro_{number}"), [0])
    await harness.run_steps()
    harness.now += timedelta(days=1)
    await harness.run_steps()
    assert set(await database.column('SELECT value FROM "profileProperties"')) == {"0"}


async def test_two_processes_do_not_count_the_same_events(harness: PropertyHarness) -> None:
    await harness.add_views("pro_1", [1])
    async with await connect(harness.database.url, "test") as other, other.transaction():
        assert (await harness.updater.run_step(other, harness.now)).events == 1
        assert (await harness.run_step()).events == 0
    assert (await harness.run_step()).events == 0
    assert await harness.read_values("pro_1", "visits") == ["1"]


async def test_an_audit_finds_values_that_another_writer_changed(harness: PropertyHarness) -> None:
    await harness.add_profile("pro_2", "123")
    await harness.add_views("pro_1", [1, 2], path="/a")
    await harness.add_views("pro_2", [1])
    await harness.run_steps()
    assert await harness.find_disagreements() == []
    await harness.database.execute("""
        UPDATE "profileProperties" SET value = '7' WHERE key = 'visits' AND "profileGuid" = 'pro_1'
    """)
    await harness.database.execute("""
        DELETE FROM "profileProperties" WHERE key = 'paths' AND position = 0
    """)
    await harness.database.execute("""
        INSERT INTO "profileProperties" VALUES ('pro_gone', 'visits', 0, '1')
    """)
    await harness.database.execute("""
        INSERT INTO "profileProperties" VALUES ('pro_2', 'paths', 0, '/invented')
    """)
    disagreements = {
        (found.profile, found.key): (found.stored, found.expected)
        for found in await harness.find_disagreements()
    }
    assert disagreements == {
        ("pro_1", "visits"): (["7"], ["2"]),
        ("pro_1", "paths"): (["/a"], ["/a", "/a"]),
        ("pro_gone", "visits"): ([], []),
        ("pro_2", "paths"): (["/invented"], []),
    }


@pytest.mark.parametrize(
    "row",
    [
        "('placed', 1, '{evt_none}', '{pro_1,pro_none}')",
        "('placed', 1, NULL, '{pro_1}')",
        "('left', 1, NULL, NULL)",
        "('data', 1, NULL, NULL)",
    ],
)
async def test_a_change_that_somebody_has_damaged_does_not_stop_the_others(
    harness: PropertyHarness, row: str
) -> None:
    await harness.database.connection.execute(
        f'INSERT INTO "eventChanges" (kind, size, events, profiles) VALUES {row}'.encode()
    )
    await harness.add_views("pro_1", [1, 2])
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["2"]
    assert await harness.database.count("eventChanges") == 0
    assert await harness.find_disagreements() == []
