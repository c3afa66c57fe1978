"""A slow or broken source: nothing is lost, nothing else waits, and no secret is told."""

import asyncio
import logging

import pytest

from decoration import dialects
from decoration.breaker import FAILURES_TO_OPEN
from tests.decoration.harness import GATED, SQL, DecorationHarness, query, threads, url_of
from tests.support.database import Database
from tests.support.waiting import equals, eventually

GOOD = {"1": ["free"], "2": ["pro"]}


@pytest.fixture
async def loaded(harness: DecorationHarness) -> DecorationHarness:
    """Users 1 and 2 have their plans, and are due again."""
    await harness.apply(query())
    await harness.known("1", "2")
    await harness.settle()
    harness.later(4000)
    return harness


async def look(harness: DecorationHarness) -> None:
    """One round of calls."""
    await harness.worker.poll()
    await harness.worker.join()


async def test_a_failed_call_erases_nothing(
    loaded: DecorationHarness, source_database: Database
) -> None:
    await source_database.execute("ALTER TABLE users RENAME TO gone")
    await look(loaded)
    assert await loaded.values() == GOOD
    state = await loaded.state()
    assert state.error == 'relation "users" does not exist'
    assert (state.failing_since, state.breaker.failures, state.due) == (loaded.now, 1, 2)
    await source_database.execute("ALTER TABLE gone RENAME TO users")
    await source_database.execute("UPDATE users SET plan = 'gold'")
    await loaded.settle()
    assert await loaded.values() == {"1": ["gold"], "2": ["gold"]}
    state = await loaded.state()
    assert (state.error, state.failing_since, state.breaker.failures) == (None, None, 0)


async def test_the_breaker_opens_and_closes_when_the_source_is_back(
    loaded: DecorationHarness, source_database: Database, asked: list[tuple[str, ...]]
) -> None:
    await loaded.known(*map(str, range(100, 150)))
    await source_database.execute("ALTER TABLE users RENAME TO gone")
    await loaded.settle()
    assert len(asked) == FAILURES_TO_OPEN
    retry_at = (await loaded.state()).breaker.retry_at
    assert retry_at is not None
    await loaded.settle()
    assert len(asked) == FAILURES_TO_OPEN
    loaded.now = retry_at
    await loaded.settle()
    assert [len(users) for users in asked] == [52, 26, 13, 6]
    await source_database.execute("ALTER TABLE gone RENAME TO users")
    loaded.later(2)
    await loaded.settle()
    assert [len(users) for users in asked[FAILURES_TO_OPEN + 1 :]] == [3, 49]
    assert (await loaded.state()).due == 0


async def test_one_process_tries_whether_the_source_is_back(
    loaded: DecorationHarness, source_database: Database, asked: list[tuple[str, ...]]
) -> None:
    await loaded.known(*map(str, range(100, 150)))
    await source_database.execute("ALTER TABLE users RENAME TO gone")
    await loaded.settle()
    loaded.later(2)
    other = loaded.another()
    await asyncio.gather(other.poll(), loaded.worker.poll())
    await other.join()
    await loaded.worker.join()
    assert len(asked) == FAILURES_TO_OPEN + 1
    await other.close()


async def test_no_answer_in_time(loaded: DecorationHarness, source_database: Database) -> None:
    slow = query("email", "slow", source="slow", sql=f"{SQL} AND pg_sleep(30) IS NOT NULL")
    sources = {"crm": {"url": "CRM_URL"}, "slow": {"url": "CRM_URL", "timeout": 0.5}}
    await loaded.apply_to(sources, query(), slow)
    started = asyncio.get_running_loop().time()
    await source_database.execute("UPDATE users SET plan = 'gold' WHERE id = '1'")
    while await loaded.database.count("propertySourceStates") != 2:
        await loaded.worker.poll()
    while not (state := await loaded.state("slow")).error:
        await loaded.worker.poll()
        await loaded.worker.wait(0.05)
        if asyncio.get_running_loop().time() - started < 0.5:
            others = await loaded.values()
    assert others == {"1": ["gold"], "2": ["pro"]}, "the other source did not wait"
    assert asyncio.get_running_loop().time() - started < 5
    assert state.error in (
        "canceling statement due to statement timeout",
        "no answer within 0.5 s",
    )
    assert (await loaded.state()).error is None


async def test_a_statement_is_not_left_behind_in_the_database(
    loaded: DecorationHarness, source_database: Database
) -> None:
    await loaded.apply(query(sql=f"{SQL} AND pg_sleep(30) IS NOT NULL"), timeout=0.3)
    await loaded.begin()
    await loaded.worker.join()
    await eventually(lambda: sleeping(source_database), equals(0), within=3)


async def sleeping(source_database: Database) -> int:
    """How many statements sleep."""
    return int(
        await source_database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND query LIKE '%%pg_sleep%%' AND pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
    )


async def test_a_query_can_only_read(loaded: DecorationHarness, source_database: Database) -> None:
    await source_database.connection.execute(
        "CREATE FUNCTION vandal(text) RETURNS text LANGUAGE sql AS "
        "$$ UPDATE users SET plan = 'stolen' RETURNING $1 $$"
    )
    await loaded.apply(
        query(sql="SELECT vandal(id) AS id, plan FROM users WHERE id = ANY(:userIds)")
    )
    await loaded.settle()
    assert await source_database.column("SELECT plan FROM users ORDER BY id") == [
        "free",
        "pro",
        None,
    ]
    error = (await loaded.state()).error
    assert error == "cannot execute UPDATE in a read-only transaction"
    assert await loaded.values() == GOOD


async def test_no_more_connections_than_the_pool_allows(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query(sql=GATED), batch=1, pool=2)
    await harness.known(*map(str, range(9)))
    await source_database.execute("SELECT pg_advisory_lock(1)")
    await harness.begin()
    for _ in range(5):
        await harness.worker.poll()
    assert await eventually(lambda: connections(source_database), equals(2)) == 2
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await harness.settle()
    assert await harness.values() == GOOD
    assert await connections(source_database) <= 2


async def connections(source_database: Database) -> int:
    """Count the decoration process's connections to the company's database."""
    return int(
        await source_database.value(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'merganser decoration'"
        )
    )


async def test_a_driver_that_knows_no_timeout_costs_no_more_than_the_pool(
    harness: DecorationHarness, source_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "begin_read_only", lambda _connection, _seconds: None)
    await harness.apply(query(sql=GATED), timeout=0.2, batch=1, pool=2)
    await harness.known("1", "2")
    await source_database.execute("SELECT pg_advisory_lock(1)")
    for _ in range(8):
        await look(harness)
        harness.later(120)
    assert (await harness.state()).error == "no answer within 0.2 s"
    assert (await connections(source_database), threads()) == (2, 2)
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await eventually(threads, equals(0))
    await harness.settle()
    assert await harness.values() == GOOD


async def test_a_broken_query_keeps_no_other_from_being_asked(
    harness: DecorationHarness, source_database: Database
) -> None:
    broken = query("plan", "broken", sql="SELECT id, plan FROM nowhere WHERE id = ANY(:userIds)")
    await harness.apply(query(), broken, query("price", "lost"))
    await harness.known("1", "2")
    await harness.settle()
    assert await harness.values() == GOOD
    state = await harness.state()
    assert (state.error, state.due) == (None, 0)
    assert state.rule_errors == {
        "broken": 'relation "nowhere" does not exist',
        "lost": "the answer has no column price: it has id, email, plan",
    }
    await harness.apply(query(), broken)
    await source_database.execute("CREATE TABLE nowhere AS SELECT id, 'fixed' AS plan FROM users")
    harness.later(4000)
    await harness.settle()
    assert (await harness.state()).rule_errors == {}
    assert await harness.values("broken") == {"1": ["fixed"], "2": ["fixed"]}


async def test_an_id_that_the_column_cannot_hold_costs_nobody_else(
    harness: DecorationHarness, source_database: Database, asked: list[tuple[str, ...]]
) -> None:
    await source_database.execute("ALTER TABLE users ALTER id TYPE integer USING id::integer")
    await harness.apply(query())
    await harness.known("1", "abc", "2", "99999999999", *(f"test-{n}" for n in range(100)))
    await harness.settle()
    assert await harness.values() == GOOD
    state = await harness.state()
    assert (state.error, state.due) == (None, 0)
    assert state.rule_errors["plan"].startswith("refused 102 of 104 users: ")
    assert len(asked) <= 50


async def test_an_answer_without_the_column(harness: DecorationHarness) -> None:
    await harness.apply(query("price"))
    await harness.known("1")
    await harness.settle()
    error = (await harness.state()).error
    assert error == "the answer has no column price: it has id, email, plan"


SECRETS = {
    "no variable": (None, "the environment variable CRM_URL is not set"),
    "no URL": ("secret", "the environment variable CRM_URL is not a SQLAlchemy URL"),
    "a port that is none": (
        "postgresql://me:a:secret@x:y/z",
        "the environment variable CRM_URL is not a SQLAlchemy URL",
    ),
    "no such database": ("nosql://me:secret@x/y", "Can't load plugin: sqlalchemy.dialects:nosql"),
    "no driver": ("mysql+pymysql://me:secret@x/y", "No module named 'pymysql'"),
    "nobody listens": ("postgresql://me:secret@127.0.0.1:1/x", "onnection refused"),
}


@pytest.mark.parametrize(("url", "said"), SECRETS.values(), ids=list(SECRETS))
async def test_a_source_that_cannot_be_reached_says_why_and_no_secret(
    database: Database, url: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    harness = DecorationHarness(database, {} if url is None else {"CRM_URL": url})
    await harness.apply(query())
    await harness.known("1")
    await harness.settle()
    error = (await harness.state()).error
    assert error is not None
    assert said in error
    assert "secret" not in error + caplog.text
    await harness.worker.close()


async def test_what_a_server_says_of_data_is_not_told(
    harness: DecorationHarness, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """It quotes the data."""
    sql = "SELECT id, plan FROM users WHERE id = ANY(:userIds) AND ('x' || id)::integer = 1"
    await harness.apply(query(sql=sql))
    await harness.known("1", "2")
    await harness.settle()
    assert (await harness.state()).rule_errors == {
        "plan": "refused 2 of 2 users: InvalidTextRepresentation 22P02"
    }
    said = capsys.readouterr()
    assert "x1" not in caplog.text + said.out + said.err


async def test_a_source_with_another_url_is_asked_there(loaded: DecorationHarness) -> None:
    loaded.environment["OTHER_URL"] = url_of(loaded.database.url)
    await loaded.database.execute("CREATE TABLE users (id text, email text, plan text)")
    await loaded.database.execute("INSERT INTO users VALUES ('1', NULL, 'other')")
    await loaded.apply(query(), url="OTHER_URL")
    await loaded.settle()
    assert await loaded.values() == {"1": ["other"]}
