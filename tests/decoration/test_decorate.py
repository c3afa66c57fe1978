"""What a source says comes to profiles, and follows it, on real Postgres."""

import uuid

import pytest

from decoration import schedule
from merganser.identity.plan import EventIds
from merganser.identity.store import resolve
from merganser.runtime import metrics
from tests.decoration.harness import NOW, SQL, DecorationHarness, query
from tests.support.counters import read_counter
from tests.support.database import Database

ODD = ["a,b", 'say "hi"', "back\\slash", "{}", "NULL", "o'neil", " spaced ", "%s", ":userIds"]


async def test_who_becomes_known_is_decorated(harness: DecorationHarness) -> None:
    await harness.apply(query(), query("email", type="email"))
    await harness.settle()
    await harness.database.execute("INSERT INTO profiles (guid) VALUES ('pro_2')")
    await harness.settle()
    assert await harness.values() == {}
    await harness.database.execute("""UPDATE profiles SET "userId" = '2'""")
    await harness.known("1", "3", "nobody")
    await harness.settle()
    assert await harness.values() == {"1": ["free"], "2": ["pro"]}
    assert await harness.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_who_becomes_known_by_a_link(harness: DecorationHarness) -> None:
    """One visitor becomes user 1, another one merges into that profile."""
    await harness.apply(query())
    for name, user_id in (("a", None), ("b", None), ("a", "1"), ("b", "1")):
        sighting = EventIds(f"evt_{name}{user_id}", NOW, user_id, f"anonymous-{name}")
        async with harness.database.connection.transaction():
            await resolve(harness.database.connection, [sighting], 100)
    await harness.settle()
    assert await harness.values() == {"aNone": ["free"]}
    assert await harness.database.count("profileDecorations") == 1


async def test_without_rules_nobody_is_scheduled(harness: DecorationHarness) -> None:
    enabled = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname LIKE 'noteKnown%%'"
    assert await harness.database.column(enabled) == ["D"]
    await harness.apply(query())
    assert await harness.database.column(enabled) == ["O"]


async def test_a_new_rule_is_for_those_who_are_known_already(harness: DecorationHarness) -> None:
    await harness.known("1", "2")
    await harness.apply(query())
    await harness.settle()
    assert await harness.values() == {"1": ["free"], "2": ["pro"]}
    await harness.apply(query(), query("email"))
    await harness.settle()
    assert await harness.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_a_change_follows_when_its_time_has_come(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query(), refresh=100)
    await harness.known("1", "2")
    await harness.settle()
    await source_database.execute("UPDATE users SET plan = 'gold'")
    harness.later(80)
    await harness.settle()
    assert await harness.values() == {"1": ["free"], "2": ["pro"]}
    harness.later(40)
    await harness.settle()
    assert await harness.values() == {"1": ["gold"], "2": ["gold"]}


async def test_null_and_a_row_that_is_gone_take_the_value_away(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query())
    await harness.known("1", "2")
    await harness.settle()
    await source_database.execute("UPDATE users SET plan = NULL WHERE id = '1'")
    await source_database.execute("DELETE FROM users WHERE id = '2'")
    harness.later(4000)
    await harness.settle()
    assert await harness.values() == {}


async def test_rules_with_the_same_query_share_it(
    harness: DecorationHarness, asked: list[tuple[str, ...]]
) -> None:
    other = query("plan", "other", sql=f"{SQL} AND plan <> 'free'")
    await harness.apply(query(), query("email"), other)
    await harness.known("1", "2")
    await harness.settle()
    assert asked == [("1", "2")] * 2
    assert await harness.values("other") == {"2": ["pro"]}


async def test_a_query_asks_for_no_more_than_a_batch(
    harness: DecorationHarness, asked: list[tuple[str, ...]]
) -> None:
    await harness.apply(query(), batch=3, pool=2)
    await harness.known(*map(str, range(10)))
    await harness.settle()
    assert sorted(map(len, asked)) == [1, 3, 3, 3]
    assert sorted(user for users in asked for user in users) == [str(n) for n in range(10)]


async def test_who_becomes_known_comes_before_those_who_wait(
    harness: DecorationHarness, asked: list[tuple[str, ...]]
) -> None:
    await harness.known(*map(str, range(5)))
    await harness.apply(query(), batch=2, pool=1)
    await harness.worker.poll()
    await harness.worker.poll()
    await harness.known("new")
    await harness.settle()
    assert "new" in asked[0]


async def test_all_profiles_are_scheduled_some_at_a_time(
    harness: DecorationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 2)
    await harness.known("1", "2", "3", "4", "5")
    await harness.apply(query())
    await harness.worker.poll()
    await harness.worker.poll()
    assert not (await harness.state()).scheduled
    assert await harness.database.count("profileDecorations") == 2
    await harness.settle()
    assert (await harness.state()).scheduled
    assert await harness.values() == {"1": ["free"], "2": ["pro"]}


async def test_times_are_spread_around_the_refresh(harness: DecorationHarness) -> None:
    await harness.apply(query(), refresh=1000)
    await harness.known(*map(str, range(200)))
    await harness.settle()
    dues = await harness.database.column('SELECT "dueAt" FROM "profileDecorations"')
    seconds = sorted((due - harness.now).total_seconds() for due in dues)
    assert 900 <= seconds[0] < 930
    assert 1070 < seconds[-1] <= 1100


@pytest.mark.parametrize("kind", ["text", "bigint", "integer", "uuid"])
@pytest.mark.parametrize("how", ["= ANY(:userIds)", "IN ( :userIds )", "in :userIds"])
async def test_ids_of_any_type_of_column(
    harness: DecorationHarness, source_database: Database, kind: str, how: str
) -> None:
    ids = [str(uuid.UUID(int=n)) for n in (1, 2)] if kind == "uuid" else ["1", "2"]
    await source_database.connection.execute(
        f"CREATE TABLE people AS SELECT unnest(%s::{kind}[]) AS id, unnest(%s::text[]) AS plan",
        (ids, ["free", "pro"]),
    )
    await harness.apply(query(sql=f"SELECT id, plan FROM people WHERE id {how}"))
    await harness.known(*ids)
    await harness.settle()
    assert await harness.values() == {ids[0]: ["free"], ids[1]: ["pro"]}


async def test_ids_with_quotes_and_commas(
    harness: DecorationHarness, source_database: Database
) -> None:
    for odd in ODD:
        await source_database.execute("INSERT INTO users VALUES (%s, NULL, %s)", odd, f"of {odd}")
    await harness.apply(query())
    await harness.known(*ODD)
    await harness.settle()
    assert await harness.values() == {odd: [f"of {odd}"] for odd in ODD}


async def test_arrays(harness: DecorationHarness, source_database: Database) -> None:
    await source_database.execute("CREATE TABLE tags (id text, tags text[], more jsonb, one text)")
    await source_database.execute("""INSERT INTO tags VALUES ('1', '{a,b}', '["c", "d"]', 'e')""")
    sql = "SELECT id, tags, more, one FROM tags WHERE id = ANY(:userIds)"
    keys = ("tags", "more", "one")
    await harness.apply(*(query(key, array=True, sql=sql) for key in keys))
    await harness.known("1")
    await harness.settle()
    found = [await harness.values(key) for key in keys]
    assert found == [{"1": ["a", "b"]}, {"1": ["c", "d"]}, {"1": ["e"]}]
    await source_database.execute("""UPDATE tags SET tags = '{b}', more = '[]', one = NULL""")
    harness.later(4000)
    await harness.settle()
    assert [await harness.values(key) for key in keys] == [{"1": ["b"]}, {}, {}]


async def test_what_did_not_change_is_not_written(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query())
    await harness.known("1", "2")
    await harness.settle()
    await source_database.execute("UPDATE users SET plan = 'gold' WHERE id = '1'")
    before = read_counter(metrics.SOURCE_VALUES_WRITTEN, "crm")
    harness.later(4000)
    await harness.settle()
    assert read_counter(metrics.SOURCE_VALUES_WRITTEN, "crm") - before == 1


async def test_a_value_that_does_not_fit_is_no_value(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query("email", type="email"))
    await harness.known("1", "2")
    await harness.settle()
    await source_database.execute("UPDATE users SET email = 'none' WHERE id = '1'")
    harness.later(4000)
    await harness.settle()
    assert await harness.values("email") == {"2": ["b@x.io"]}


async def test_a_rule_that_goes_is_asked_no_more(
    harness: DecorationHarness, asked: list[tuple[str, ...]]
) -> None:
    await harness.apply(query())
    await harness.known("1")
    await harness.settle()
    await harness.apply()
    await harness.known("2")
    await harness.settle()
    assert len(asked) == 1
    assert await harness.database.count("profileDecorations") == 0
    assert await harness.database.count("propertySourceStates") == 0


async def test_nobody_keeps_what_a_rule_over_events_gave(harness: DecorationHarness) -> None:
    await harness.database.execute("INSERT INTO profiles (guid) VALUES ('pro_x')")
    await harness.database.execute(
        'INSERT INTO "profileProperties" ("profileGuid", key, value) '
        "VALUES ('pro_x', 'plan', 'of an event'), ('pro_x', 'other', 'stays')"
    )
    await harness.apply(query())
    await harness.settle()
    assert await harness.values() == {}
    assert await harness.values("other") == {"x": ["stays"]}
