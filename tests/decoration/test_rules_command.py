"""The commands `merganser rules list` and `merganser rules test` for rules that query a source."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decoration import dialects
from merganser.cli.main import app
from tests.decoration.fake_source import FakeSource, Unreadable
from tests.decoration.harness import DecorationHarness, query
from tests.support.database import Database


async def run_rules_command(harness: DecorationHarness, *arguments: str) -> str:
    """Run `merganser rules` with these arguments and return its output as one line."""
    env = {
        **harness.environment,
        "MERGANSER_DATABASE_URL": harness.database.url,
        "COLUMNS": "300",
    }

    def run() -> str:
        result = CliRunner().invoke(app, ["rules", *arguments], env=env, catch_exceptions=False)
        return re.sub(r"[\s│]+", " ", result.output)

    return await asyncio.to_thread(run)


async def test_list_shows_the_status_of_rules(
    harness: DecorationHarness, source_database: Database
) -> None:
    harness.now = datetime.now(UTC)
    await harness.apply(query(), query("lost"))
    assert "waiting: does `merganser decoration` run?" in await run_rules_command(harness, "list")
    await harness.worker.poll()
    await harness.add_users("1", "2")
    assert " 2 or more due" in await run_rules_command(harness, "list")
    await harness.run_worker()
    output = await run_rules_command(harness, "list")
    assert "crm: plan up to date" in output
    assert "the answer has no column lost" in output

    await source_database.execute("DROP TABLE users")
    harness.advance(4000)
    await harness.run_worker()
    assert f"failing since {harness.now:%Y-%m-%d %H:%M:%S}Z: relation" in await run_rules_command(
        harness, "list"
    )
    listed = json.loads(await run_rules_command(harness, "list", "--json"))
    (plan,) = [rule for rule in listed if rule["key"] == "plan"]
    assert plan["source"]["error"] == 'relation "users" does not exist'


async def test_list_names_a_variable_that_is_not_set(harness: DecorationHarness) -> None:
    del harness.environment["CRM_URL"]
    await harness.apply(query())
    await harness.add_users("1")
    await harness.run_worker()
    assert "the environment variable CRM_URL is not set" in await run_rules_command(harness, "list")


async def test_testing_a_rule_queries_one_user_and_writes_nothing(
    harness: DecorationHarness,
) -> None:
    await harness.apply(query(), query("email", type="integer"))
    await harness.add_users("1", "9")
    await harness.database.execute("INSERT INTO profiles (guid) VALUES ('pro_x')")
    output = await run_rules_command(harness, "test", "plan", "--profile", "pro_1")
    assert "plan of pro_1 (user 1): free" in output
    assert "1 a@x.io free" in output
    output = await run_rules_command(harness, "test", "email", "--profile", "1")
    assert "no value 1 do not fit the type integer" in output
    output = await run_rules_command(harness, "test", "plan", "--profile", "9")
    assert "no value crm has no row for this user" in output
    assert "has no userId" in await run_rules_command(harness, "test", "plan", "--profile", "pro_x")
    assert "no profile, userId or anonymousId is 'pro_y'" in await run_rules_command(
        harness, "test", "plan", "--profile", "pro_y"
    )
    assert await harness.read_values() == {}


async def test_testing_a_rule_shows_why_a_value_is_skipped(
    harness: DecorationHarness, source_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.apply(query())
    await harness.add_users("1")
    await source_database.execute("UPDATE users SET plan = repeat('x', 20000)")
    output = await run_rules_command(harness, "test", "plan", "--profile", "1")
    assert "no value 1 are too long" in output
    assert "1 a@x.io too long" in output
    monkeypatch.setattr(dialects, "execute_query", FakeSource({"1": Unreadable()}).execute_query)
    output = await run_rules_command(harness, "test", "plan", "--profile", "1")
    assert "no value the value cannot be read: MemoryError at decoration/fake_source.py" in output
    assert "1 1@x.io cannot be read: MemoryError" in output


async def test_testing_a_rule_shows_why_a_source_fails(
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
    await harness.add_users("1")
    arguments = ("test", "plan", "--profile", "1", "--file", str(file))
    assert 'crm: column "id" does not exist' in await run_rules_command(harness, *arguments)
    file.write_text(file.read_text().replace("FROM user ", "FROM users "))
    assert "crm: the answer has no column plan: it has id" in await run_rules_command(
        harness, *arguments
    )
    harness.environment["CRM_URL"] = ""
    assert "crm: the environment variable CRM_URL is not set" in await run_rules_command(
        harness, *arguments
    )
