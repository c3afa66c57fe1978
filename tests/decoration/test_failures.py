"""A slow or broken source loses no values, delays no other source and reveals no secret."""

import asyncio
import logging

import pytest

from decoration import dialects
from decoration.breaker import FAILURES_OF_SOURCE, FAILURES_TO_OPEN
from tests.decoration.harness import (
    BLOCKED_SQL,
    SQL,
    DecorationHarness,
    count_query_threads,
    query,
    url_of,
)
from tests.decoration.other_users import read_set_aside
from tests.support.database import Database
from tests.support.waiting import equals, eventually

GOOD = {"1": ["free"], "2": ["pro"]}


@pytest.fixture
async def loaded(harness: DecorationHarness) -> DecorationHarness:
    """A harness where users 1 and 2 have their plans and are due again."""
    await harness.apply(query())
    await harness.add_users("1", "2")
    await harness.run_worker()
    harness.advance(4000)
    return harness


async def run_one_round(harness: DecorationHarness) -> None:
    """Poll once and wait for the queries."""
    await harness.worker.poll()
    await harness.worker.join()


async def test_a_failed_query_deletes_no_values(
    loaded: DecorationHarness, source_database: Database
) -> None:
    await source_database.execute("ALTER TABLE users RENAME TO gone")
    await run_one_round(loaded)
    assert await loaded.read_values() == GOOD
    status = await loaded.read_status()
    assert status.error == 'relation "users" does not exist'
    assert (status.failing_since, status.breaker.failures, status.due) == (loaded.now, 1, 2)
    await source_database.execute("ALTER TABLE gone RENAME TO users")
    await source_database.execute("UPDATE users SET plan = 'gold'")
    await loaded.run_worker()
    assert await loaded.read_values() == {"1": ["gold"], "2": ["gold"]}
    status = await loaded.read_status()
    assert (status.error, status.failing_since, status.breaker.failures) == (None, None, 0)


async def test_the_breaker_opens_and_closes_when_the_source_is_back(
    loaded: DecorationHarness, source_database: Database, queried: list[tuple[str, ...]]
) -> None:
    await loaded.add_users(*map(str, range(100, 150)))
    await source_database.execute("ALTER TABLE users RENAME TO gone")
    await loaded.run_worker()
    assert len(queried) == FAILURES_TO_OPEN
    retry_at = (await loaded.read_status()).breaker.retry_at
    assert retry_at is not None
    await loaded.run_worker()
    assert len(queried) == FAILURES_TO_OPEN
    loaded.now = retry_at
    await loaded.run_worker()
    assert [len(users) for users in queried] == [52, 26, 13, 6]
    await source_database.execute("ALTER TABLE gone RENAME TO users")
    loaded.advance(2)
    await loaded.run_worker()
    assert [len(users) for users in queried[FAILURES_TO_OPEN + 1 :]] == [3, 49]
    assert (await loaded.read_status()).due == 0


async def test_only_one_process_queries_a_half_open_source(
    loaded: DecorationHarness, source_database: Database, queried: list[tuple[str, ...]]
) -> None:
    await loaded.add_users(*map(str, range(100, 150)))
    await source_database.execute("ALTER TABLE users RENAME TO gone")
    await loaded.run_worker()
    loaded.advance(2)
    other = loaded.create_worker()
    await asyncio.gather(other.poll(), loaded.worker.poll())
    await other.join()
    await loaded.worker.join()
    assert len(queried) == FAILURES_TO_OPEN + 1
    await other.close()


async def test_a_slow_source_times_out(
    loaded: DecorationHarness, source_database: Database
) -> None:
    slow = query("email", "slow", source="slow", sql=f"{SQL} AND pg_sleep(30) IS NOT NULL")
    sources = {"crm": {"url": "CRM_URL"}, "slow": {"url": "CRM_URL", "timeout": 0.5}}
    await loaded.apply_to(sources, query(), slow)
    await source_database.execute("UPDATE users SET plan = 'gold' WHERE id = '1'")
    while await loaded.database.count("propertySourceStates") != 2:
        await loaded.worker.poll()
    while not (status := await loaded.read_status("slow")).error:
        await loaded.worker.poll()
        await loaded.worker.wait(0.05)
    assert await loaded.read_values() == {"1": ["gold"], "2": ["pro"]}
    assert status.error in (
        "canceling statement due to statement timeout",
        "no answer within 0.5 s",
    )
    assert (await loaded.read_status()).error is None


async def test_a_source_that_hangs_sets_few_users_aside(
    harness: DecorationHarness, source_database: Database
) -> None:
    """A query for one user times out, but so it does for all. The set-aside items are deleted when
    the source answers."""
    users = [str(number) for number in range(100, 160)]
    await source_database.execute("INSERT INTO users SELECT unnest(%s::text[]), NULL, 'x'", users)
    await harness.apply(query(sql=BLOCKED_SQL), timeout=0.05)
    await harness.add_users(*users)
    await source_database.execute("SELECT pg_advisory_lock(1)")
    for _ in range(40):
        await run_one_round(harness)
        harness.advance(60)
    assert 0 < len(await read_set_aside(harness.database)) < FAILURES_OF_SOURCE
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    harness.advance(4000)
    await harness.apply(query(sql=BLOCKED_SQL), timeout=60)
    await harness.run_worker()
    assert await harness.read_values() == {user: ["x"] for user in users}
    assert await read_set_aside(harness.database) == {}


async def test_a_slow_source_does_not_delay_another_source(
    loaded: DecorationHarness, source_database: Database
) -> None:
    await source_database.execute("SELECT pg_advisory_lock(1)")
    slow = query("email", "slow", source="slow", sql=BLOCKED_SQL)
    sources = {"crm": {"url": "CRM_URL"}, "slow": {"url": "CRM_URL", "timeout": 60}}
    await loaded.apply_to(sources, query(), slow)
    await source_database.execute("UPDATE users SET plan = 'gold' WHERE id = '1'")
    while await loaded.read_values() != {"1": ["gold"], "2": ["pro"]}:
        await loaded.worker.poll()
        await loaded.worker.wait(0.05)
    assert loaded.worker.busy, "the slow source has not answered yet"
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await loaded.run_worker()
    assert await loaded.read_values("slow") == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_a_timed_out_statement_stops_in_the_database(
    loaded: DecorationHarness, source_database: Database
) -> None:
    await loaded.apply(query(sql=f"{SQL} AND pg_sleep(30) IS NOT NULL"), timeout=0.3)
    await loaded.start_queries()
    await loaded.worker.join()
    await eventually(lambda: count_sleeping_statements(source_database), equals(0), within=15)


async def count_sleeping_statements(source_database: Database) -> int:
    """Count the statements that sleep."""
    return int(
        await source_database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND query LIKE '%%pg_sleep%%' AND pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
    )


async def test_a_query_can_only_read(loaded: DecorationHarness, source_database: Database) -> None:
    await source_database.connection.execute(
        "CREATE FUNCTION change(text) RETURNS text LANGUAGE sql AS "
        "$$ UPDATE users SET plan = 'stolen' RETURNING $1 $$"
    )
    await loaded.apply(
        query(sql="SELECT change(id) AS id, plan FROM users WHERE id = ANY(:userIds)")
    )
    await loaded.run_worker()
    assert await source_database.column("SELECT plan FROM users ORDER BY id") == [
        "free",
        "pro",
        None,
    ]
    error = (await loaded.read_status()).error
    assert error == "cannot execute UPDATE in a read-only transaction"
    assert await loaded.read_values() == GOOD


async def test_connections_are_limited_by_the_pool(
    harness: DecorationHarness, source_database: Database
) -> None:
    await harness.apply(query(sql=BLOCKED_SQL), batch=1, pool=2)
    await harness.add_users(*map(str, range(9)))
    await source_database.execute("SELECT pg_advisory_lock(1)")
    await harness.start_queries()
    for _ in range(5):
        await harness.worker.poll()
    assert await eventually(lambda: count_connections(source_database), equals(2)) == 2
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    assert await count_connections(source_database) <= 2


async def count_connections(source_database: Database) -> int:
    """Count the decoration process's connections to the company's database."""
    return int(
        await source_database.value(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'merganser decoration'"
        )
    )


async def test_a_driver_without_timeouts_holds_at_most_the_pool(
    harness: DecorationHarness, source_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "begin_read_only", lambda _connection, _seconds: None)
    await harness.apply(query(sql=BLOCKED_SQL), timeout=0.2, batch=1, pool=2)
    await harness.add_users("1", "2")
    await source_database.execute("SELECT pg_advisory_lock(1)")
    for _ in range(8):
        await run_one_round(harness)
        harness.advance(120)
    assert (await harness.read_status()).error == "no answer within 0.2 s"
    assert (await count_connections(source_database), count_query_threads()) == (2, 2)
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await eventually(count_query_threads, equals(0))
    await harness.run_worker()
    assert await harness.read_values() == GOOD


async def test_a_broken_query_does_not_affect_other_queries(
    harness: DecorationHarness, source_database: Database
) -> None:
    broken = query("plan", "broken", sql="SELECT id, plan FROM nowhere WHERE id = ANY(:userIds)")
    await harness.apply(query(), broken, query("price", "lost"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    status = await harness.read_status()
    assert (status.error, status.due) == (None, 0)
    assert status.rule_errors == {
        "broken": 'relation "nowhere" does not exist',
        "lost": "the answer has no column price: it has id, email, plan",
    }
    await harness.apply(query(), broken)
    await source_database.execute("CREATE TABLE nowhere AS SELECT id, 'fixed' AS plan FROM users")
    harness.advance(4000)
    await harness.run_worker()
    assert (await harness.read_status()).rule_errors == {}
    assert await harness.read_values("broken") == {"1": ["fixed"], "2": ["fixed"]}


async def test_an_id_that_the_column_cannot_hold_affects_no_other_user(
    harness: DecorationHarness, source_database: Database, queried: list[tuple[str, ...]]
) -> None:
    await source_database.execute("ALTER TABLE users ALTER id TYPE integer USING id::integer")
    await harness.apply(query())
    await harness.add_users("1", "abc", "2", "99999999999", *(f"test-{n}" for n in range(100)))
    await harness.run_worker()
    assert await harness.read_values() == GOOD
    status = await harness.read_status()
    assert (status.error, status.due) == (None, 0)
    assert status.rule_errors["plan"].startswith("refused 102 of 104 users: ")
    assert len(queried) <= 50


async def test_a_result_without_the_column_is_an_error(harness: DecorationHarness) -> None:
    await harness.apply(query("price"))
    await harness.add_users("1")
    await harness.run_worker()
    error = (await harness.read_status()).error
    assert error == "the answer has no column price: it has id, email, plan"


UNREACHABLE = {
    "no variable": (None, "the environment variable CRM_URL is not set"),
    "not a URL": ("secret", "the environment variable CRM_URL is not a SQLAlchemy URL"),
    "not a port": (
        "postgresql://me:a:secret@x:y/z",
        "the environment variable CRM_URL is not a SQLAlchemy URL",
    ),
    "unknown database": ("nosql://me:secret@x/y", "Can't load plugin: sqlalchemy.dialects:nosql"),
    "no driver": ("mysql+pymysql://me:secret@x/y", "No module named 'pymysql'"),
    "connection refused": ("postgresql://me:secret@127.0.0.1:1/x", "onnection refused"),
}


@pytest.mark.parametrize(("url", "message"), UNREACHABLE.values(), ids=list(UNREACHABLE))
async def test_the_error_of_an_unreachable_source_has_no_secret(
    database: Database, url: str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    harness = DecorationHarness(database, {} if url is None else {"CRM_URL": url})
    await harness.apply(query())
    await harness.add_users("1")
    await harness.run_worker()
    error = (await harness.read_status()).error
    assert error is not None
    assert message in error
    assert "secret" not in error + caplog.text
    await harness.worker.close()


async def test_error_messages_that_quote_data_are_not_stored_or_logged(
    harness: DecorationHarness, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message of the server quotes the data."""
    sql = "SELECT id, plan FROM users WHERE id = ANY(:userIds) AND ('x' || id)::integer = 1"
    await harness.apply(query(sql=sql))
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert (await harness.read_status()).rule_errors == {
        "plan": "refused 2 of 2 users: InvalidTextRepresentation 22P02"
    }
    output = capsys.readouterr()
    assert "x1" not in caplog.text + output.out + output.err


async def test_a_source_with_a_new_url_is_queried_there(loaded: DecorationHarness) -> None:
    loaded.environment["OTHER_URL"] = url_of(loaded.database.url)
    await loaded.database.execute("CREATE TABLE users (id text, email text, plan text)")
    await loaded.database.execute("INSERT INTO users VALUES ('1', NULL, 'other')")
    await loaded.apply(query(), url="OTHER_URL")
    await loaded.run_worker()
    assert await loaded.read_values() == {"1": ["other"]}
