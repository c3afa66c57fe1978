"""What a source says comes to profiles, and follows it, on real Postgres."""

import uuid

import pytest

from decoration import schedule
from merganser.identity.plan import EventIds
from merganser.identity.store import resolve
from merganser.runtime import metrics
from tests.decoration.decorated import NOW, SQL, Decorated, query
from tests.support.database import Database

ODD = ["a,b", 'say "hi"', "back\\slash", "{}", "NULL", "o'neil", " spaced ", "%s", ":userIds"]


async def test_who_becomes_known_is_decorated(decorated: Decorated) -> None:
    await decorated.apply(query(), query("email", type="email"))
    await decorated.settle()
    await decorated.database.execute("INSERT INTO profiles (guid) VALUES ('pro_2')")
    await decorated.settle()
    assert await decorated.values() == {}
    await decorated.database.execute("""UPDATE profiles SET "userId" = '2'""")
    await decorated.known("1", "3", "nobody")
    await decorated.settle()
    assert await decorated.values() == {"1": ["free"], "2": ["pro"]}
    assert await decorated.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_who_becomes_known_by_a_link(decorated: Decorated) -> None:
    """One visitor becomes user 1, another one merges into that profile."""
    await decorated.apply(query())
    for name, user_id in (("a", None), ("b", None), ("a", "1"), ("b", "1")):
        sighting = EventIds(f"evt_{name}{user_id}", NOW, user_id, f"anonymous-{name}")
        async with decorated.database.connection.transaction():
            await resolve(decorated.database.connection, [sighting], 100)
    await decorated.settle()
    assert await decorated.values() == {"aNone": ["free"]}
    assert await decorated.database.count("profileDecorations") == 1


async def test_without_rules_nobody_is_scheduled(decorated: Decorated) -> None:
    enabled = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname LIKE 'noteKnown%%'"
    assert await decorated.database.column(enabled) == ["D"]
    await decorated.apply(query())
    assert await decorated.database.column(enabled) == ["O"]


async def test_a_new_rule_is_for_those_who_are_known_already(decorated: Decorated) -> None:
    await decorated.known("1", "2")
    await decorated.apply(query())
    await decorated.settle()
    assert await decorated.values() == {"1": ["free"], "2": ["pro"]}
    await decorated.apply(query(), query("email"))
    await decorated.settle()
    assert await decorated.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_a_change_follows_when_its_time_has_come(
    decorated: Decorated, company: Database
) -> None:
    await decorated.apply(query(), refresh=100)
    await decorated.known("1", "2")
    await decorated.settle()
    await company.execute("UPDATE users SET plan = 'gold'")
    decorated.later(80)
    await decorated.settle()
    assert await decorated.values() == {"1": ["free"], "2": ["pro"]}
    decorated.later(40)
    await decorated.settle()
    assert await decorated.values() == {"1": ["gold"], "2": ["gold"]}


async def test_null_and_a_row_that_is_gone_take_the_value_away(
    decorated: Decorated, company: Database
) -> None:
    await decorated.apply(query())
    await decorated.known("1", "2")
    await decorated.settle()
    await company.execute("UPDATE users SET plan = NULL WHERE id = '1'")
    await company.execute("DELETE FROM users WHERE id = '2'")
    decorated.later(4000)
    await decorated.settle()
    assert await decorated.values() == {}


async def test_rules_with_the_same_query_share_it(
    decorated: Decorated, asked: list[tuple[str, ...]]
) -> None:
    other = query("plan", "other", sql=f"{SQL} AND plan <> 'free'")
    await decorated.apply(query(), query("email"), other)
    await decorated.known("1", "2")
    await decorated.settle()
    assert asked == [("1", "2")] * 2
    assert await decorated.values("other") == {"2": ["pro"]}


async def test_a_query_asks_for_no_more_than_a_batch(
    decorated: Decorated, asked: list[tuple[str, ...]]
) -> None:
    await decorated.apply(query(), batch=3, pool=2)
    await decorated.known(*map(str, range(10)))
    await decorated.settle()
    assert sorted(map(len, asked)) == [1, 3, 3, 3]
    assert sorted(user for users in asked for user in users) == [str(n) for n in range(10)]


async def test_who_becomes_known_comes_before_those_who_wait(
    decorated: Decorated, asked: list[tuple[str, ...]]
) -> None:
    await decorated.known(*map(str, range(5)))
    await decorated.apply(query(), batch=2, pool=1)
    await decorated.worker.poll()
    await decorated.worker.poll()
    await decorated.known("new")
    await decorated.settle()
    assert "new" in asked[0]


async def test_all_profiles_are_scheduled_some_at_a_time(
    decorated: Decorated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 2)
    await decorated.known("1", "2", "3", "4", "5")
    await decorated.apply(query())
    await decorated.worker.poll()
    await decorated.worker.poll()
    assert not (await decorated.state()).scheduled
    assert await decorated.database.count("profileDecorations") == 2
    await decorated.settle()
    assert (await decorated.state()).scheduled
    assert await decorated.values() == {"1": ["free"], "2": ["pro"]}


async def test_times_are_spread_around_the_refresh(decorated: Decorated) -> None:
    await decorated.apply(query(), refresh=1000)
    await decorated.known(*map(str, range(200)))
    await decorated.settle()
    dues = await decorated.database.column('SELECT "dueAt" FROM "profileDecorations"')
    seconds = sorted((due - decorated.now).total_seconds() for due in dues)
    assert 900 <= seconds[0] < 930
    assert 1070 < seconds[-1] <= 1100


@pytest.mark.parametrize("kind", ["text", "bigint", "integer", "uuid"])
@pytest.mark.parametrize("how", ["= ANY(:userIds)", "IN ( :userIds )", "in :userIds"])
async def test_ids_of_any_type_of_column(
    decorated: Decorated, company: Database, kind: str, how: str
) -> None:
    ids = [str(uuid.UUID(int=n)) for n in (1, 2)] if kind == "uuid" else ["1", "2"]
    await company.connection.execute(
        f"CREATE TABLE people AS SELECT unnest(%s::{kind}[]) AS id, unnest(%s::text[]) AS plan",
        (ids, ["free", "pro"]),
    )
    await decorated.apply(query(sql=f"SELECT id, plan FROM people WHERE id {how}"))
    await decorated.known(*ids)
    await decorated.settle()
    assert await decorated.values() == {ids[0]: ["free"], ids[1]: ["pro"]}


async def test_ids_with_quotes_and_commas(decorated: Decorated, company: Database) -> None:
    for odd in ODD:
        await company.execute("INSERT INTO users VALUES (%s, NULL, %s)", odd, f"of {odd}")
    await decorated.apply(query())
    await decorated.known(*ODD)
    await decorated.settle()
    assert await decorated.values() == {odd: [f"of {odd}"] for odd in ODD}


async def test_arrays(decorated: Decorated, company: Database) -> None:
    await company.execute("CREATE TABLE tags (id text, tags text[], more jsonb, one text)")
    await company.execute("""INSERT INTO tags VALUES ('1', '{a,b}', '["c", "d"]', 'e')""")
    sql = "SELECT id, tags, more, one FROM tags WHERE id = ANY(:userIds)"
    keys = ("tags", "more", "one")
    await decorated.apply(*(query(key, array=True, sql=sql) for key in keys))
    await decorated.known("1")
    await decorated.settle()
    found = [await decorated.values(key) for key in keys]
    assert found == [{"1": ["a", "b"]}, {"1": ["c", "d"]}, {"1": ["e"]}]
    await company.execute("""UPDATE tags SET tags = '{b}', more = '[]', one = NULL""")
    decorated.later(4000)
    await decorated.settle()
    assert [await decorated.values(key) for key in keys] == [{"1": ["b"]}, {}, {}]


async def test_what_did_not_change_is_not_written(decorated: Decorated, company: Database) -> None:
    await decorated.apply(query())
    await decorated.known("1", "2")
    await decorated.settle()
    await company.execute("UPDATE users SET plan = 'gold' WHERE id = '1'")
    written = metrics.SOURCE_VALUES_WRITTEN.labels("crm")
    before = written._value.get()  # noqa: SLF001 - there is no other way to read it
    decorated.later(4000)
    await decorated.settle()
    assert written._value.get() - before == 1  # noqa: SLF001


async def test_a_value_that_does_not_fit_is_no_value(
    decorated: Decorated, company: Database
) -> None:
    await decorated.apply(query("email", type="email"))
    await decorated.known("1", "2")
    await decorated.settle()
    await company.execute("UPDATE users SET email = 'none' WHERE id = '1'")
    decorated.later(4000)
    await decorated.settle()
    assert await decorated.values("email") == {"2": ["b@x.io"]}


async def test_a_rule_that_goes_is_asked_no_more(
    decorated: Decorated, asked: list[tuple[str, ...]]
) -> None:
    await decorated.apply(query())
    await decorated.known("1")
    await decorated.settle()
    await decorated.apply()
    await decorated.known("2")
    await decorated.settle()
    assert len(asked) == 1
    assert await decorated.database.count("profileDecorations") == 0
    assert await decorated.database.count("propertySourceStates") == 0


async def test_nobody_keeps_what_a_rule_over_events_gave(decorated: Decorated) -> None:
    await decorated.database.execute("INSERT INTO profiles (guid) VALUES ('pro_x')")
    await decorated.database.execute(
        'INSERT INTO "profileProperties" ("profileGuid", key, value) '
        "VALUES ('pro_x', 'plan', 'of an event'), ('pro_x', 'other', 'stays')"
    )
    await decorated.apply(query())
    await decorated.settle()
    assert await decorated.values() == {}
    assert await decorated.values("other") == {"x": ["stays"]}
