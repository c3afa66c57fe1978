"""A SQLite file as a source."""

import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from decoration import dialects, source_client
from merganser.rulebook.language import Source
from tests.decoration.harness import DecorationHarness, count_query_threads, query
from tests.decoration.other_users import GOOD, INNOCENT, PLANS, read_set_aside
from tests.support.database import Database
from tests.support.memory import measure_growth
from tests.support.waiting import equals, eventually

MIB = 2**20

SQL = "SELECT id, email, plan, tags FROM users WHERE id IN (:userIds)"
SLOW = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000000)
SELECT (SELECT max(i) FROM n) AS id, 'x' AS plan WHERE '1' IN (:userIds)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The company's users. Their ids are numbers."""
    file = tmp_path / "my users.db"
    with sqlite3.connect(file) as connection:
        connection.executescript("""
            CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, plan TEXT, tags TEXT);
            INSERT INTO users VALUES (1, 'a@x.io', 'free', '["a", "b"]'), (2, NULL, 'pro', NULL);
        """)
    connection.close()
    return file


@pytest.fixture
async def harness(database: Database, file: Path) -> AsyncIterator[DecorationHarness]:
    """A harness whose source `crm` is the file."""
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{file}"})
    yield harness
    await harness.worker.close()


async def test_a_sqlite_file_is_queried(harness: DecorationHarness, file: Path) -> None:
    tags = query("tags", sql=SQL, array=True)
    await harness.apply(query(sql=SQL), query("email", sql=SQL, type="email"), tags)
    await harness.add_users("1", "2", "abc", "10000000000000000000000")
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["free"], "2": ["pro"]}
    assert await harness.read_values("email") == {"1": ["a@x.io"]}
    assert await harness.read_values("tags") == {"1": ["a", "b"]}
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE users SET plan = 'gold' WHERE id = 1")
    connection.close()
    harness.advance(4000)
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["gold"], "2": ["pro"]}


@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?uri=true"])
async def test_a_sqlite_file_is_read_only(harness: DecorationHarness, file: Path, url: str) -> None:
    sql = "INSERT INTO users SELECT id + 10, email, plan, tags FROM users WHERE id IN (:userIds)"
    harness.environment["CRM_URL"] = url.format(quote(str(file)) if "file:" in url else file)
    await harness.apply(query(sql=f"{sql} RETURNING id, plan"))
    await harness.add_users("1", "2")
    await harness.run_worker()
    assert (await harness.read_status()).error == 'near "INSERT": syntax error'
    source = Source(url="CRM_URL")
    engine = dialects.create_source_engine(make_url(harness.environment["CRM_URL"]), source)
    with engine.connect() as opened:
        dialects.begin_read_only(opened, 5)
        with pytest.raises(OperationalError, match="attempt to write a readonly database"):
            opened.exec_driver_sql("DELETE FROM users")
    engine.dispose()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
    connection.close()


async def test_a_slow_source_times_out(harness: DecorationHarness) -> None:
    await harness.apply(query(sql=SLOW), timeout=0.3)
    await harness.add_users("1")
    started = time.monotonic()
    await harness.start_queries()
    await harness.worker.join()
    assert time.monotonic() - started < 3
    assert (await harness.read_status()).error in ("interrupted", "no answer within 0.3 s")
    await eventually(count_query_threads, equals(0), what="the query stops")


async def test_a_missing_file_is_not_created(database: Database, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{missing}"})
    await harness.apply(query(sql=SQL))
    await harness.add_users("1")
    await harness.run_worker()
    assert (await harness.read_status()).error == "unable to open database file"
    assert not missing.exists()
    await harness.worker.close()


async def test_a_missing_table_affects_only_its_rule(harness: DecorationHarness) -> None:
    broken = query("plan", "broken", sql="SELECT id, plan FROM nowhere WHERE id IN (:userIds)")
    await harness.apply(query(sql=SQL), broken)
    await harness.add_users("1")
    await harness.run_worker()
    status = await harness.read_status()
    assert (status.error, status.rule_errors) == (None, {"broken": "no such table: nowhere"})
    assert await harness.read_values() == {"1": ["free"]}


@pytest.mark.parametrize("size", [20 * MIB, 100 * MIB])
async def test_large_values_in_a_sqlite_file_affect_only_their_users(
    database: Database, tmp_path: Path, size: int
) -> None:
    file = tmp_path / "users.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id TEXT, plan TEXT, avatar BLOB)")
        for user_id in INNOCENT:
            connection.execute("INSERT INTO users VALUES (?, ?, NULL)", (user_id, GOOD[user_id]))
        connection.execute("INSERT INTO users VALUES ('odd', zeroblob(?), NULL)", (size,))
        connection.execute(
            "INSERT INTO users VALUES ('x', CAST(x'ff' AS TEXT), zeroblob(?))", (size,)
        )
    connection.close()
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{file}"})
    sql = "SELECT id, plan FROM users WHERE id IN (:userIds) ORDER BY plan;"
    await harness.apply(query(sql=sql), timeout=60)
    await harness.add_users("odd", "x", *INNOCENT)
    growth, _ = await measure_growth(os.getpid(), harness.run_worker())
    assert await harness.read_values() == PLANS
    assert (await harness.read_status()).error is None
    assert growth < 200 * MIB
    set_aside = await read_set_aside(harness.database)
    assert set_aside.keys() == (set() if size < source_client.MAX_BYTES else {("pro_odd", "plan")})
    await harness.worker.close()


async def test_a_value_that_sqlite_refuses_affects_only_its_user(
    database: Database, tmp_path: Path
) -> None:
    """SQLite gives the same error as for a wrong query."""
    file = tmp_path / "users.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id TEXT, plan TEXT)")
        for user_id in INNOCENT:
            connection.execute("""INSERT INTO users VALUES (?, '{"name":"free"}')""", (user_id,))
        connection.execute("INSERT INTO users VALUES ('odd', 'not JSON')")
    connection.close()
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{file}"})
    sql = "SELECT id, json_extract(plan, '$.name') AS plan FROM users WHERE id IN (:userIds)"
    await harness.apply(query(sql=sql))
    await harness.add_users("odd", *INNOCENT)
    await harness.run_worker()
    assert await harness.read_values() == {user_id: ["free"] for user_id in INNOCENT}
    assert (await harness.read_status()).rule_errors == {
        "plan": "refused 1 of 21 users: OperationalError"
    }
    assert await read_set_aside(database) == {("pro_odd", "plan"): ("open", 1, "OperationalError")}
    await harness.worker.close()
