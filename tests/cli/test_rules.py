"""The commands `merganser rules` and `merganser audit --properties`."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from merganser.cli.main import app
from tests.properties.harness import COUNT, PATHS, USER_ID, PropertyHarness
from tests.support.database import Database

FILE = f"rules: [{json.dumps(USER_ID)}, {json.dumps(COUNT)}, {json.dumps(PATHS)}]"


class Operator:
    """Runs commands; has a rule file."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.file = folder / "rules.yaml"
        self.file.write_text(FILE)
        self._env = {"MERGANSER_DATABASE_URL": database.url, "COLUMNS": "200"}

    async def __call__(self, *arguments: str, answer: str | None = None) -> Result:
        """Run a command and type the answer into it."""

        def run() -> Result:
            return CliRunner().invoke(app, arguments, input=answer, env=self._env)

        return await asyncio.to_thread(run)

    async def apply(self) -> Result:
        """Apply the file."""
        result = await self("rules", "apply", str(self.file), "--yes", "--no-wait")
        assert result.exit_code == 0, result.output
        return result


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Operator:
    return Operator(database, tmp_path)


async def test_apply_shows_what_it_changes(operator: Operator) -> None:
    first = await operator.apply()
    assert first.stdout.splitlines() == [
        "+ userId: string unique identifying, the userIds of events",
        "+ visits: integer, view, count",
        "+ paths: string array, view, all values, data.path",
        "  0 unchanged",
    ]
    operator.file.write_text(FILE.replace('"count"', '"rate"').replace("integer", "float"))
    operator.file.write_text(operator.file.read_text().replace("data.path", "data.title"))
    second = await operator.apply()
    assert second.stdout.splitlines() == [
        "- visits: integer, view, count",
        "+ visits: float, view, rate",
        "- paths: string array, view, all values, data.path",
        "+ paths: string array, view, all values, data.title",
        "  1 unchanged",
    ]
    assert "applied already" in (await operator.apply()).stderr


async def test_apply_asks_for_confirmation(
    operator: Operator, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_terminal = await operator("rules", "apply", str(operator.file), "--no-wait")
    assert no_terminal.exit_code == 1
    assert "--yes" in no_terminal.stderr
    monkeypatch.setattr("merganser.cli.terminal.is_interactive", lambda: True)
    no = await operator("rules", "apply", str(operator.file), "--no-wait", answer="n\n")
    assert no.exit_code == 1
    assert await database.count("profilePropertyRules") == 0
    yes = await operator("rules", "apply", str(operator.file), "--no-wait", answer="y\n")
    assert yes.exit_code == 0
    assert await database.count("profilePropertyRules") == 3


async def test_apply_waits_for_the_backfill(operator: Operator, database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.add_views(await harness.add_profile("pro_1"), range(5))
    applying = asyncio.create_task(operator("rules", "apply", str(operator.file), "--yes"))
    while not applying.done():
        await harness.run_steps()
        await asyncio.sleep(0.05)
    assert (await applying).exit_code == 0
    assert await harness.read_values("pro_1", "visits") == ["5"]


async def test_a_mistake_is_reported_with_its_file_and_line_and_a_fix(operator: Operator) -> None:
    operator.file.write_text(
        "rules:\n"
        "  - {key: userId, type: string, unique: true, identifying: true}\n"
        "  - {key: spent, type: float, events: {type: purchase, aggregation: sum}}\n"
    )
    result = await operator("rules", "apply", str(operator.file), "--yes")
    assert result.exit_code == 1
    assert f"{operator.file}:3" in result.stderr
    assert "such as column: data.price" in result.stderr


async def test_list_and_show_print_the_applied_rules(
    operator: Operator, database: Database
) -> None:
    await operator.apply()
    waiting = await operator("rules", "list")
    assert waiting.stdout.count("backfill: 0 of about") == 3
    await PropertyHarness(database).run_steps()
    assert (await operator("rules", "list")).stdout.count("up to date") == 3
    data = json.loads((await operator("rules", "list", "--json")).stdout)
    assert [(rule["key"], rule["backfilled"]) for rule in data] == [
        ("paths", True),
        ("userId", True),
        ("visits", True),
    ]
    shown = yaml.safe_load((await operator("rules", "show", "paths")).stdout)
    assert shown == {"rules": [{**PATHS, "events": {**PATHS["events"], "type": ["view"]}}]}  # type: ignore[dict-item]
    unknown = await operator("rules", "show", "path")
    assert unknown.exit_code == 1
    assert "no rule has the key path" in unknown.stderr


async def test_a_rule_can_be_tested_before_it_is_applied(
    operator: Operator, database: Database
) -> None:
    harness = PropertyHarness(database)
    await harness.add_profile("pro_1", "123")
    await harness.add_views("pro_1", [1], path="/a")
    await harness.add_views("pro_1", [2])
    test = ("rules", "test", "paths", "--profile", "123")
    assert (await operator(*test)).exit_code == 1
    tested = await operator(*test, "--file", str(operator.file))
    assert tested.exit_code == 0
    assert "paths of pro_1 (user 123): /a" in tested.stdout
    assert "counted" in tested.stdout
    assert "has no value" in tested.stdout
    assert await database.count("profilePropertyRules") == 0
    await operator.apply()
    assert "paths of pro_1 (user 123): /a" in (await operator(*test)).stdout
    unknown = await operator("rules", "test", "paths", "--profile", "unknown")
    assert unknown.exit_code == 1
    assert "anonymousId is 'unknown'" in unknown.stderr


async def test_an_audit_reports_wrong_properties(operator: Operator, database: Database) -> None:
    await operator.apply()
    harness = PropertyHarness(database)
    await database.execute("INSERT INTO profiles (guid, \"userId\") VALUES ('pro_1', '123')")
    await database.execute(
        'INSERT INTO events (type, "profileGuid", "userId", "occurredAt") '
        "SELECT 'view', 'pro_1', '123', now() FROM generate_series(1, 3)"
    )
    await harness.run_steps()
    right = await operator("audit", "--properties")
    assert right.exit_code == 0
    assert "properties of 1 profiles compared" in " ".join(right.stdout.split())
    await database.execute("""UPDATE "profileProperties" SET value = '4' WHERE value = '3'""")
    wrong = await operator("audit", "--properties")
    assert wrong.exit_code == 1
    assert "disagreements found" in wrong.stdout
    assert (await operator("audit")).exit_code == 0, "the identity audit finds nothing"


async def test_list_names_broken_rules_and_how_to_fix_them(
    operator: Operator, database: Database
) -> None:
    source = {"crm": {"url": "URL"}}
    operator.file.write_text(f"sources: {json.dumps(source)}\n{FILE}")
    await operator.apply()
    await database.execute(
        """UPDATE "profilePropertyRules" SET definition = '{"key": "paths"}' WHERE key = 'paths'"""
    )
    await database.execute("""UPDATE "propertySources" SET definition = '7'""")
    listed = await operator("rules", "list")
    assert "broken: type: Field" in listed.stdout
    errors = " ".join(listed.stderr.split())
    assert "the source crm is broken: definition: Input should be" in errors
    assert "run `merganser rules apply FILE`" in errors
    data = json.loads((await operator("rules", "list", "--json")).stdout)
    assert {"key": "paths", "broken": "type: Field required"} in data
    for arguments in (("show", "paths"), ("test", "paths", "--profile", "x")):
        shown = await operator("rules", *arguments)
        assert shown.exit_code == 1
        assert "the rule paths is broken: type: Field required" in " ".join(shown.stderr.split())
    applied = await operator.apply()
    assert applied.stdout.splitlines() == [
        "~ paths: string array, view, all values, data.path (broken now)",
        "~ sources",
        "  2 unchanged",
    ]
    assert "broken" not in (await operator("rules", "list")).output


async def test_apply_drops_a_broken_rule_that_the_file_does_not_have(
    operator: Operator, database: Database
) -> None:
    await operator.apply()
    await database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'paths'"""
    )
    operator.file.write_text(f"rules: [{json.dumps(USER_ID)}, {json.dumps(COUNT)}]")
    assert "- paths (broken now)" in (await operator.apply()).stdout
    assert await database.count("profilePropertyRules") == 2


async def test_testing_a_rule_shows_which_values_are_too_long(
    operator: Operator, database: Database
) -> None:
    await operator.apply()
    harness = PropertyHarness(database)
    await harness.add_views(await harness.add_profile("pro_1"), [1], path="x" * 20_000)
    tested = await operator("rules", "test", "paths", "--profile", "pro_1")
    assert tested.stdout.count("too long") == 2, "for the value and for its event"
