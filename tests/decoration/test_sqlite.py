"""A source that is a SQLite file."""

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from decoration import dialects
from merganser.rulebook.language import Source
from tests.decoration.harness import DecorationHarness, query, threads
from tests.support.database import Database
from tests.support.waiting import equals, eventually

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
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{file}"})
    yield harness
    await harness.worker.close()


async def test_it_is_asked(harness: DecorationHarness, file: Path) -> None:
    tags = query("tags", sql=SQL, array=True)
    await harness.apply(query(sql=SQL), query("email", sql=SQL, type="email"), tags)
    await harness.known("1", "2", "abc", "10000000000000000000000")
    await harness.settle()
    assert await harness.values() == {"1": ["free"], "2": ["pro"]}
    assert await harness.values("email") == {"1": ["a@x.io"]}
    assert await harness.values("tags") == {"1": ["a", "b"]}
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE users SET plan = 'gold' WHERE id = 1")
    connection.close()
    harness.later(4000)
    await harness.settle()
    assert await harness.values() == {"1": ["gold"], "2": ["pro"]}


@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?uri=true"])
async def test_it_can_only_be_read(harness: DecorationHarness, file: Path, url: str) -> None:
    sql = "INSERT INTO users SELECT id + 10, email, plan, tags FROM users WHERE id IN (:userIds)"
    harness.environment["CRM_URL"] = url.format(quote(str(file)) if "file:" in url else file)
    await harness.apply(query(sql=f"{sql} RETURNING id, plan"))
    await harness.known("1", "2")
    await harness.settle()
    assert (await harness.state()).error == 'near "INSERT": syntax error'
    source = Source(url="CRM_URL")
    made = dialects.create_source_engine(make_url(harness.environment["CRM_URL"]), source)
    with made.connect() as opened:
        dialects.begin_read_only(opened, 5)
        with pytest.raises(OperationalError, match="attempt to write a readonly database"):
            opened.exec_driver_sql("DELETE FROM users")
    made.dispose()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
    connection.close()


async def test_no_answer_in_time(harness: DecorationHarness) -> None:
    await harness.apply(query(sql=SLOW), timeout=0.3)
    await harness.known("1")
    started = time.monotonic()
    await harness.begin()
    await harness.worker.join()
    assert time.monotonic() - started < 3
    assert (await harness.state()).error in ("interrupted", "no answer within 0.3 s")
    await eventually(threads, equals(0), within=5, what="the query does not go on")


async def test_a_file_that_is_not_there_is_not_made(database: Database, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    harness = DecorationHarness(database, {"CRM_URL": f"sqlite:///{missing}"})
    await harness.apply(query(sql=SQL))
    await harness.known("1")
    await harness.settle()
    assert (await harness.state()).error == "unable to open database file"
    assert not missing.exists()
    await harness.worker.close()


async def test_a_table_that_is_not_there(harness: DecorationHarness) -> None:
    broken = query("plan", "broken", sql="SELECT id, plan FROM nowhere WHERE id IN (:userIds)")
    await harness.apply(query(sql=SQL), broken)
    await harness.known("1")
    await harness.settle()
    state = await harness.state()
    assert (state.error, state.rule_errors) == (None, {"broken": "no such table: nowhere"})
    assert await harness.values() == {"1": ["free"]}
