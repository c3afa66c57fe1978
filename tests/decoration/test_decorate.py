"""Values of a source are written to profiles and follow its changes, on real Postgres."""

import uuid

import pytest

from decoration import schedule
from merganser.identity.plan import EventIds
from merganser.identity.store import resolve
from tests.decoration.harness import NOW, SQL, DecorationHarness, query, read_counter
from tests.support.database import Database

ODD_IDS = ["a,b", 'say "hi"', "back\\slash", "{}", "NULL", "o'neil", " spaced ", "%s", ":userIds"]


async def test_a_profile_that_gets_a_user_id_is_decorated(harness: DecorationHarness) -> None:
    await harness.apply(query(), query("email", type="email"))
    await harness.run_worker()
    await harness.database.execute("INSERT INTO profiles (guid) VALUES ('pro_2')")
    await harness.run_worker()
    assert await harness.read_values() == {}
    await harness.database.execute("""UPDATE profiles SET "userId" = '2'""")
    await harness.add_users("1", "3", "unknown")
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["free"], "2": ["pro"]}
    assert await harness.read_values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_a_profile_that_gets_a_user_id_by_a_link_is_decorated(
    harness: DecorationHarness,
) -> None:
    """The first visitor becomes user 1; the second merges into that profile."""
    await harness.apply(query())
    for name, user_id in (("a", None), ("b", None), ("a", "1"), ("b", "1")):
        sighting = EventIds(f"evt_{name}{user_id}", NOW, user_id, f"anonymous-{name}")
        async with harness.database.connection.transaction():
            await resolve(harness.database.connection, [sighting], 100)
    await harness.run_worker()
    assert await harness.read_values() == {"aNone": ["free"]}
    assert await harness.database.count("profileDecorations") == 1


async def test_without_rules_no_profile_is_scheduled(harness: DecorationHarness) -> None:
    enabled = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname LIKE 'noteKnown%%'"
    assert await harness.database.column(enabled) == ["D"]
    await harness.apply(query())
    assert await harness.database.column(enabled) == ["O"]


async def test_a_new_rule_decorates_existing_users(harness: DecorationHarness) -> None:
    await harness.add_users("1", "2")
    await harness.apply(query())
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["free"], "2": ["pro"]}
    await harness.apply(query(), query("email"))
    await harness.run_worker()
    assert await harness.read_values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_a_change_in_the_source_arrives_after_the_refresh_interval(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query(), refresh=100)
    await harness.add_users("1", "2")
    await harness.run_worker()
    await source_database.execute("UPDATE users SET plan = 'gold'")
    harness.advance(80)
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["free"], "2": ["pro"]}
    harness.advance(40)
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["gold"], "2": ["gold"]}


async def test_null_and_a_missing_row_delete_the_value(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query())
    await harness.add_users("1", "2")
    await harness.run_worker()
    await source_database.execute("UPDATE users SET plan = NULL WHERE id = '1'")
    await source_database.execute("DELETE FROM users WHERE id = '2'")
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values() == {}


async def test_rules_with_the_same_query_share_one_query(
    harness: DecorationHarness, queried: list[tuple[str, ...]]
) -> None:
    other = query("plan", "other", sql=f"{SQL} AND plan <> 'free'")
    await harness.apply(query(), query("email"), other)
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert queried == [("1", "2")] * 2
    assert await harness.read_values("other") == {"2": ["pro"]}


async def test_a_query_is_for_at_most_one_batch_of_users(
    harness: DecorationHarness, queried: list[tuple[str, ...]]
) -> None:
    await harness.apply(query(), batch=3, pool=2)
    await harness.add_users(*map(str, range(10)))
    await harness.run_worker()
    assert sorted(map(len, queried)) == [1, 3, 3, 3]
    assert sorted(user for users in queried for user in users) == [str(n) for n in range(10)]


async def test_new_users_come_before_waiting_users(
    harness: DecorationHarness, queried: list[tuple[str, ...]]
) -> None:
    await harness.add_users(*map(str, range(5)))
    await harness.apply(query(), batch=2, pool=1)
    await harness.worker.poll()
    await harness.worker.poll()
    await harness.add_users("new")
    await harness.run_worker()
    assert "new" in queried[0]


async def test_profiles_are_scheduled_in_chunks(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 2)
    await harness.add_users("1", "2", "3", "4", "5")
    await harness.apply(query())
    await harness.worker.poll()
    await harness.worker.poll()
    assert not (await harness.read_status()).scheduled
    assert await harness.database.count("profileDecorations") == 2
    await harness.run_worker()
    assert (await harness.read_status()).scheduled
    assert await harness.read_values() == {"1": ["free"], "2": ["pro"]}


async def test_due_times_are_spread_around_the_refresh_interval(harness: DecorationHarness) -> None:
    await harness.apply(query(), refresh=1000)
    await harness.add_users(*map(str, range(200)))
    await harness.run_worker()
    dues = await harness.database.column('SELECT "dueAt" FROM "profileDecorations"')
    seconds = sorted((due - harness.now).total_seconds() for due in dues)
    assert 900 <= seconds[0] < 930
    assert 1070 < seconds[-1] <= 1100


@pytest.mark.parametrize("kind", ["text", "bigint", "integer", "uuid"])
@pytest.mark.parametrize("condition", ["= ANY(:userIds)", "IN ( :userIds )", "in :userIds"])
async def test_an_id_column_can_have_any_type(
    harness: DecorationHarness, source_database: Database, kind: str, condition: str
) -> None:
    ids = [str(uuid.UUID(int=n)) for n in (1, 2)] if kind == "uuid" else ["1", "2"]
    await source_database.connection.execute(
        f"CREATE TABLE people AS SELECT unnest(%s::{kind}[]) AS id, unnest(%s::text[]) AS plan",
        (ids, ["free", "pro"]),
    )
    await harness.apply(query(sql=f"SELECT id, plan FROM people WHERE id {condition}"))
    await harness.add_users(*ids)
    await harness.run_worker()
    assert await harness.read_values() == {ids[0]: ["free"], ids[1]: ["pro"]}


async def test_ids_can_have_quotes_and_commas(
    harness: DecorationHarness, source_database: Database
) -> None:
    for odd in ODD_IDS:
        await source_database.execute("INSERT INTO users VALUES (%s, NULL, %s)", odd, f"of {odd}")
    await harness.apply(query())
    await harness.add_users(*ODD_IDS)
    await harness.run_worker()
    assert await harness.read_values() == {odd: [f"of {odd}"] for odd in ODD_IDS}


async def test_array_properties_take_arrays_json_and_single_values(
    harness: DecorationHarness, source_database: Database
) -> None:
    await source_database.execute(
        "CREATE TABLE tags (id text, tags text[], more jsonb, single text)"
    )
    await source_database.execute("""INSERT INTO tags VALUES ('1', '{a,b}', '["c", "d"]', 'e')""")
    sql = "SELECT id, tags, more, single FROM tags WHERE id = ANY(:userIds)"
    keys = ("tags", "more", "single")
    await harness.apply(*(query(key, array=True, sql=sql) for key in keys))
    await harness.add_users("1")
    await harness.run_worker()
    found = [await harness.read_values(key) for key in keys]
    assert found == [{"1": ["a", "b"]}, {"1": ["c", "d"]}, {"1": ["e"]}]
    await source_database.execute("""UPDATE tags SET tags = '{b}', more = '[]', single = NULL""")
    harness.advance(4000)
    await harness.run_worker()
    assert [await harness.read_values(key) for key in keys] == [{"1": ["b"]}, {}, {}]


async def test_unchanged_values_are_not_written(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query())
    await harness.add_users("1", "2")
    await harness.run_worker()
    await source_database.execute("UPDATE users SET plan = 'gold' WHERE id = '1'")
    written = "merganser_decoration_values_written_total"
    before = read_counter(written, source="crm")
    harness.advance(4000)
    await harness.run_worker()
    assert read_counter(written, source="crm") - before == 1


async def test_a_value_that_does_not_fit_deletes_the_stored_value(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query("email", type="email"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    await source_database.execute("UPDATE users SET email = 'none' WHERE id = '1'")
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values("email") == {"2": ["b@x.io"]}


async def test_a_removed_rule_is_not_queried_again(
    harness: DecorationHarness, queried: list[tuple[str, ...]]
) -> None:
    await harness.apply(query())
    await harness.add_users("1")
    await harness.run_worker()
    await harness.apply()
    await harness.add_users("2")
    await harness.run_worker()
    assert len(queried) == 1
    assert await harness.database.count("profileDecorations") == 0
    assert await harness.database.count("propertySourceStates") == 0


async def test_values_of_a_rule_over_events_are_deleted_when_it_gets_a_query(
    harness: DecorationHarness,
) -> None:
    await harness.database.execute("INSERT INTO profiles (guid) VALUES ('pro_x')")
    await harness.database.execute(
        'INSERT INTO "profileProperties" ("profileGuid", key, value) '
        "VALUES ('pro_x', 'plan', 'of an event'), ('pro_x', 'other', 'stays')"
    )
    await harness.apply(query())
    await harness.run_worker()
    assert await harness.read_values() == {}
    assert await harness.read_values("other") == {"x": ["stays"]}
