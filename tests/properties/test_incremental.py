"""What happens to events while properties are counted, one case after another, on real Postgres.

test_machine.py finds what nobody thought of; these are what somebody did think of.
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
    harness = PropertyHarness(database)
    await harness.apply(COUNT, PATHS)
    await harness.settle()  # or the backfill of the new rules would fix what goes wrong later
    await harness.profile("pro_1")
    return harness


async def test_new_events_are_counted_and_nothing_is_reread(harness: PropertyHarness) -> None:
    """The history of a hot profile is taken away behind the process's back: it does not miss it."""
    await harness.views("pro_1", range(1000))
    await harness.settle()
    await harness.database.execute("SET session_replication_role = replica")
    await harness.database.execute("DELETE FROM events")
    await harness.database.execute("SET session_replication_role = origin")
    await harness.views("pro_1", [2000, -5])
    (step, *_) = await harness.settle()
    assert (step.events, step.counts.rebuilt) == (2, 0)
    assert await harness.value("pro_1", "visits") == ["1002"]


async def test_an_event_that_comes_late_takes_its_place(harness: PropertyHarness) -> None:
    await harness.views("pro_1", [10], path="/b")
    await harness.settle()
    await harness.views("pro_1", [5], path="/a")
    assert sum(step.counts.rebuilt for step in await harness.settle()) == 0
    assert await harness.value("pro_1", "paths") == ["/a", "/b"]


async def test_data_that_comes_after_its_event_was_counted(harness: PropertyHarness) -> None:
    (event,) = await harness.views("pro_1", [10])
    await harness.settle()
    await harness.database.execute(
        "INSERT INTO \"eventData\" (\"eventGuid\", key, value) VALUES (%s, 'path', '/late')", event
    )
    await harness.settle()
    assert await harness.value("pro_1", "paths") == ["/late"]
    assert await harness.value("pro_1", "visits") == ["1"]


async def test_an_event_that_moves_on_before_it_is_counted_is_counted_once(
    harness: PropertyHarness,
) -> None:
    await harness.profile("pro_2")
    (event,) = await harness.views("pro_1", [1])
    await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_2'""")
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["0"]
    assert await harness.value("pro_2", "visits") == ["1"]
    await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_1'""")
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["1"]
    assert await harness.value("pro_2", "visits") == ["0"]
    await harness.database.execute("DELETE FROM events WHERE guid = %s", event)
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["0"]


async def test_of_a_profile_that_merged_nothing_is_left(harness: PropertyHarness) -> None:
    await harness.profile("pro_2", "123")
    await harness.views("pro_1", [1, 2])
    await harness.views("pro_2", [3])
    await harness.settle()
    async with harness.database.connection.transaction():
        await harness.database.execute("""UPDATE events SET "profileGuid" = 'pro_2'""")
        await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await harness.settle()
    assert await harness.value("pro_2", "visits") == ["3"]
    for table in ("profileProperties", "propertyStates"):
        names = await harness.database.column(f'SELECT "profileGuid" FROM "{table}"')
        assert set(names) == {"pro_2"}


async def test_while_a_profile_is_counted_anew_late_events_are_counted_along(
    database: Database,
) -> None:
    """The count has reached 12:00:02; an event comes before that place, and one after it."""
    harness = PropertyHarness(database, batch=2)
    await harness.apply(COUNT, PATHS)
    await harness.profile("pro_1")
    (gone, *_) = await harness.views("pro_1", range(6), path="/old")
    await harness.settle()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", gone)
    await harness.step()
    under_way = 'SELECT "reachedAt" IS NOT NULL FROM "propertyRecounts"'
    while await harness.database.column(under_way) != [True]:
        await harness.step()
    reached = await harness.database.value('SELECT "reachedGuid" FROM "propertyRecounts"')
    assert reached not in (None, "evt_000005"), "the count is neither at its start nor at its end"
    await harness.views("pro_1", [0, 100])
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["7"]
    assert await harness.disagreements() == []


async def test_a_count_under_way_begins_again_when_an_event_goes(database: Database) -> None:
    harness = PropertyHarness(database, batch=2)
    await harness.apply(COUNT)
    await harness.profile("pro_1")
    (first, second, *_) = await harness.views("pro_1", range(6))
    await harness.settle()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", first)
    under_way = 'SELECT "reachedAt" IS NOT NULL FROM "propertyRecounts"'
    while await harness.database.column(under_way) != [True]:
        await harness.step()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", second)
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["4"]


async def test_a_count_begins_only_when_no_note_waits(database: Database) -> None:
    """Else it would count an event of which a note tells that is still to come."""
    harness = PropertyHarness(database, batch=3)
    await harness.apply(COUNT)
    await harness.settle()
    await harness.profile("pro_1")
    (gone, *_) = await harness.views("pro_1", [10, 20, 30])
    await harness.settle()
    await harness.database.execute("DELETE FROM events WHERE guid = %s", gone)
    await harness.views("pro_1", [40, 50])
    await harness.views("pro_1", [1])
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["5"]


async def test_a_count_comes_to_its_end_under_traffic(database: Database) -> None:
    harness = PropertyHarness(database, batch=3)
    await harness.views(await harness.profile("pro_1"), range(9))
    await harness.apply(COUNT)
    for turn in range(30):
        await harness.views("pro_1", [100 + turn])
        await harness.step()
    assert await harness.value("pro_1", "visits") == ["39"]


async def test_a_profile_that_says_it_is_older_than_the_rule(database: Database) -> None:
    """Its transaction began before the rule was applied, and wrote after the backfill was done."""
    harness = PropertyHarness(database)
    async with await connect(database.url, "test") as other:
        async with other.transaction():
            await other.execute("SELECT")
            await harness.apply(COUNT)
            await harness.settle()
            await PropertyHarness(Database(database.url, other)).views("pro_1", [1])
            await other.execute("INSERT INTO profiles (guid) VALUES ('pro_1')")
        await harness.settle()
    assert await harness.value("pro_1", "visits") == ["1"]


async def test_an_event_without_a_time_counts_when_it_has_one(harness: PropertyHarness) -> None:
    """Rows that another system placed on a profile itself: the scanner would have set the time."""
    await harness.database.execute(
        "INSERT INTO events (type, \"profileGuid\") VALUES ('view', 'pro_1')"
    )
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["0"]
    assert await harness.disagreements() == []
    await harness.database.execute('UPDATE events SET "occurredAt" = "createdAt"')
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["1"]


async def test_data_that_changes_and_goes(harness: PropertyHarness) -> None:
    await harness.views("pro_1", [1, 2], path="/a")
    await harness.settle()
    await harness.database.execute("""UPDATE "eventData" SET value = '/b' """)
    await harness.settle()
    assert await harness.value("pro_1", "paths") == ["/b", "/b"]
    await harness.database.execute("""DELETE FROM "eventData" """)
    await harness.settle()
    assert await harness.value("pro_1", "paths") == []
    await harness.database.execute("""UPDATE events SET type = 'other'""")
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["0"]


async def test_a_new_rule_counts_what_was_there_before_in_bounded_steps(
    database: Database,
) -> None:
    harness = PropertyHarness(database, batch=7)
    for number in range(5):
        await harness.views(await harness.profile(f"pro_{number}"), range(10), path="/a")
    await harness.apply(COUNT)
    steps = await harness.settle()
    assert len(steps) > 50 // 7
    assert sum(step.events for step in steps) == 0, "no event was new"
    for number in range(5):
        assert await harness.value(f"pro_{number}", "visits") == ["10"]
    backfilled = 'SELECT "backfilledTo" IS NULL FROM "profilePropertyRules"'
    assert set(await database.column(backfilled)) == {True}


async def test_a_property_is_never_shown_for_a_part_of_the_events(database: Database) -> None:
    """A profile older than the rule gets an event before its backfill has come to it."""
    harness = PropertyHarness(database, batch=2)
    await harness.views(await harness.profile("pro_1"), range(9))
    await harness.apply(COUNT)
    await harness.views("pro_1", [10])
    more, shown = True, set[str]()
    while more:
        more = (await harness.step()).more
        shown.update(await harness.value("pro_1", "visits"))
    assert shown == {"10"}


async def test_traffic_flows_while_a_rule_is_backfilled(database: Database) -> None:
    """Events come for profiles that the backfill has done, is at, and has not seen."""
    harness = PropertyHarness(database, batch=5)
    await harness.apply(COUNT)
    for number in range(9):
        await harness.views(await harness.profile(f"pro_{number}"), range(4))
    await harness.settle()
    await harness.apply({**COUNT, "key": "pages"})
    more = True
    rounds = 0
    while more:
        more = (await harness.step()).more
        rounds += 1
        if rounds <= 20:
            await harness.views(f"pro_{rounds % 9}", [rounds, -rounds])
            more = True
    assert rounds > 20
    for number in range(9):
        expected = 4 + 2 * sum(1 for turn in range(1, 21) if turn % 9 == number)
        assert await harness.value(f"pro_{number}", "pages") == [str(expected)]
    assert await harness.disagreements() == []


async def test_a_rule_that_goes_takes_its_values_along(harness: PropertyHarness) -> None:
    await harness.views("pro_1", [1, 2], path="/a")
    await harness.settle()
    await harness.apply(COUNT)
    await harness.settle()
    assert await harness.value("pro_1", "paths") == []
    assert await harness.value("pro_1", "visits") == ["2"]


async def test_of_a_profile_that_went_while_there_were_no_rules_nothing_is_left(
    harness: PropertyHarness,
) -> None:
    await harness.views("pro_1", [1, 2], path="/a")
    await harness.settle()
    await rule_store.apply_file(harness.database.connection, RuleFile(rules=()))
    await harness.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    await harness.apply(COUNT)
    await harness.settle()
    for table in ("profileProperties", "propertyStates"):
        assert await harness.database.count(table) == 0


async def test_without_rules_nothing_is_noted(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.views(await harness.profile("pro_1"), range(3))
    assert await database.count("eventChanges") == 0
    await harness.apply(COUNT)
    await harness.views("pro_1", range(3))
    assert await database.count("eventChanges") == 1


async def test_a_window_moves_at_midnight(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 2}})  # type: ignore[dict-item]
    await harness.views(await harness.profile("pro_1"), [-86_400, 0])
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["2"]
    harness.now += timedelta(hours=11, minutes=59)
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["2"]
    harness.now += timedelta(minutes=1)
    assert await harness.disagreements() == [], "what is due is not compared"
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["1"]
    harness.now += timedelta(days=1)
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["0"]


async def test_a_window_moves_for_any_number_of_profiles_at_once(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply({**COUNT, "events": {**COUNT["events"], "window": 1}})  # type: ignore[dict-item]
    for number in range(MAX_PROFILES + 1):
        await harness.views(await harness.profile(f"pro_{number}"), [0])
    await harness.settle()
    harness.now += timedelta(days=1)
    await harness.settle()
    assert set(await database.column('SELECT value FROM "profileProperties"')) == {"0"}


async def test_another_process_waits_its_turn(harness: PropertyHarness) -> None:
    await harness.views("pro_1", [1])
    async with await connect(harness.database.url, "test") as other, other.transaction():
        assert (await harness.properties.run_step(other, harness.now)).events == 1
        assert (await harness.step()).events == 0
    assert (await harness.step()).events == 0
    assert await harness.value("pro_1", "visits") == ["1"]


async def test_an_audit_finds_what_somebody_changed(harness: PropertyHarness) -> None:
    await harness.profile("pro_2", "123")
    await harness.views("pro_1", [1, 2], path="/a")
    await harness.views("pro_2", [1])
    await harness.settle()
    assert await harness.disagreements() == []
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
        INSERT INTO "profileProperties" VALUES ('pro_2', 'paths', 0, '/made-up')
    """)
    found = {
        (one.profile, one.key): (one.stored, one.expected) for one in await harness.disagreements()
    }
    assert found == {
        ("pro_1", "visits"): (["7"], ["2"]),
        ("pro_1", "paths"): (["/a"], ["/a", "/a"]),
        ("pro_gone", "visits"): ([], []),
        ("pro_2", "paths"): (["/made-up"], []),
    }
