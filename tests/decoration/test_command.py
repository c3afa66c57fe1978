"""`merganser rules list` and `merganser rules test` for rules that ask a source."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decoration import dialects
from merganser.cli.main import app
from tests.decoration.fake_source import FakeSource, Unspeakable
from tests.decoration.harness import DecorationHarness, query
from tests.support.database import Database


async def told(harness: DecorationHarness, *arguments: str) -> str:
    """What a command says, in one line."""
    env = {
        **harness.environment,
        "MERGANSER_DATABASE_URL": harness.database.url,
        "COLUMNS": "300",
    }

    def work() -> str:
        result = CliRunner().invoke(app, ["rules", *arguments], env=env, catch_exceptions=False)
        return re.sub(r"[\s│]+", " ", result.output)

    return await asyncio.to_thread(work)


async def test_list_shows_how_a_rule_is_doing(
    harness: DecorationHarness, source_database: Database
) -> None:
    harness.now = datetime.now(UTC)
    await harness.apply(query(), query("lost"))
    assert "waiting: does `merganser decoration` run?" in await told(harness, "list")
    await harness.worker.poll()
    await harness.known("1", "2")
    assert " 2 or more due" in await told(harness, "list")
    await harness.settle()
    said = await told(harness, "list")
    assert "crm: plan up to date" in said
    assert "the answer has no column lost" in said

    await source_database.execute("DROP TABLE users")
    harness.later(4000)
    await harness.settle()
    assert f"failing since {harness.now:%Y-%m-%d %H:%M:%S}Z: relation" in await told(
        harness, "list"
    )
    listed = json.loads(await told(harness, "list", "--json"))
    (plan,) = [rule for rule in listed if rule["key"] == "plan"]
    assert plan["source"]["error"] == 'relation "users" does not exist'


async def test_list_names_a_variable_that_is_not_set(harness: DecorationHarness) -> None:
    del harness.environment["CRM_URL"]
    await harness.apply(query())
    await harness.known("1")
    await harness.settle()
    assert "the environment variable CRM_URL is not set" in await told(harness, "list")


async def test_try_asks_for_one_user_and_writes_nothing(harness: DecorationHarness) -> None:
    await harness.apply(query(), query("email", type="integer"))
    await harness.known("1", "9")
    await harness.database.execute("INSERT INTO profiles (guid) VALUES ('pro_x')")
    said = await told(harness, "test", "plan", "--profile", "pro_1")
    assert "plan of pro_1 (user 1): free" in said
    assert "1 a@x.io free" in said
    said = await told(harness, "test", "email", "--profile", "1")
    assert "no value 1 do not fit the type integer" in said
    said = await told(harness, "test", "plan", "--profile", "9")
    assert "no value crm has no row for this user" in said
    assert "has no userId" in await told(harness, "test", "plan", "--profile", "pro_x")
    assert "no profile, userId or anonymousId is 'pro_y'" in await told(
        harness, "test", "plan", "--profile", "pro_y"
    )
    assert await harness.values() == {}


async def test_try_says_what_is_wrong_with_a_value(
    harness: DecorationHarness, source_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.apply(query())
    await harness.known("1")
    await source_database.execute("UPDATE users SET plan = repeat('x', 20000)")
    said = await told(harness, "test", "plan", "--profile", "1")
    assert "no value 1 are too long" in said
    assert "1 a@x.io too long" in said
    monkeypatch.setattr(dialects, "execute_query", FakeSource({"1": Unspeakable()}).ask)
    said = await told(harness, "test", "plan", "--profile", "1")
    assert "no value the value cannot be read: MemoryError at decoration/fake_source.py" in said
    assert "1 1@x.io cannot be read: MemoryError" in said


async def test_try_says_why_a_source_gives_nothing(
    harness: DecorationHarness, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("""
sources:
  crm: {url: CRM_URL}
rules:
  - {key: userId, type: string, unique: true, identifying: true}
  - key: plan
    type: string
    query: {source: crm, sql: "SELECT id FROM user WHERE id = ANY(:userIds)", column: plan}
""")
    await harness.known("1")
    arguments = ("test", "plan", "--profile", "1", "--file", str(file))
    assert 'crm: column "id" does not exist' in await told(harness, *arguments)
    file.write_text(file.read_text().replace("FROM user ", "FROM users "))
    assert "crm: the answer has no column plan: it has id" in await told(harness, *arguments)
    harness.environment["CRM_URL"] = ""
    assert "crm: the environment variable CRM_URL is not set" in await told(harness, *arguments)
