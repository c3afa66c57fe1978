"""A broken rule or source does not affect the others, on real Postgres."""

import json
import re
from typing import Any

import pytest

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from properties import audit, step
from properties.rules import aggregations
from tests.properties.harness import COUNT, PATHS, PRICE, USER_ID, PropertyHarness
from tests.support.database import Database


async def test_a_broken_rule_does_not_affect_other_rules(harness: PropertyHarness) -> None:
    for number in range(1, 4):
        await harness.add_views(f"pro_{number}", [1], path="/a")
    await harness.run_process()
    for definition in (
        '{"key": "paths", "type": "no such type"}',
        '"x"',
        "[" * 3_000 + "]" * 3_000,
        '{"key": "visits", "type": "string", "events": {"type": "view", "aggregation": "count"}}',
        '{"key": "paths", "type": "float", "events": {"filters": [{"value": {"x": 1}}]}}',
    ):
        await harness.database.execute(
            """UPDATE "profilePropertyRules" SET definition = %s WHERE key = 'paths'""", definition
        )
        applied = await rule_store.read_all_rules(harness.database.connection)
        assert [rule.key for rule in applied.broken] == ["paths"]
    await harness.add_views("pro_1", [2], path="/b")
    await harness.run_process()
    assert await harness.read_values("pro_1", "visits") == ["2"]
    assert await harness.read_values("pro_1", "paths") == ["/a"], "the values of a broken rule stay"
    assert await harness.find_disagreements() == []

    # The rule has missed events: only applying it again computes its values from all events.
    await harness.database.execute(
        """
        UPDATE "profilePropertyRules" SET definition = other.definition FROM (VALUES (%s::jsonb))
        AS other(definition) WHERE key = 'paths'
        """,
        json.dumps(PATHS),
    )
    await harness.run_process()
    assert await harness.read_values("pro_1", "paths") == ["/a"]
    await harness.apply(COUNT, PATHS, PRICE)
    await harness.run_process()
    assert await harness.read_values("pro_1", "paths") == ["/a", "/b"]
    assert await rule_store.count_broken_rules(harness.database.connection) == 0


async def test_applying_a_file_without_a_broken_rule_removes_it(harness: PropertyHarness) -> None:
    await harness.add_views("pro_1", [1], path="/a")
    await harness.run_process()
    await harness.database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'paths'"""
    )
    await harness.apply(COUNT, PRICE)
    await harness.run_process()
    assert await harness.read_values("pro_1", "paths") == []


async def test_a_broken_source_does_not_affect_other_sources(database: Database) -> None:
    sources = {name: {"url": "URL", "refresh": 1} for name in ("good", "bad")}
    file = RuleFile.model_validate({"sources": sources, "rules": [USER_ID]})
    await rule_store.apply_file(database.connection, file)
    await database.execute("""UPDATE "propertySources" SET definition = '3' WHERE name = 'bad'""")
    assert list(await rule_store.read_sources(database.connection)) == ["good"]
    found, broken = await rule_store.read_all_sources(database.connection)
    assert ([*found], [source.key for source in broken]) == (["good"], ["bad"])
    assert (await rule_store.apply_file(database.connection, file)).sources
    assert list(await rule_store.read_sources(database.connection)) == ["bad", "good"]


def fail(_: Any, __: Any) -> str:
    raise ZeroDivisionError


async def test_a_rule_that_fails_for_all_profiles_is_suspended_and_none_is_set_aside(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for guid in ("pro_1", "pro_2", "pro_3"):
        await harness.add_views(guid, [1])
    for number in range(120):
        await harness.add_views(await harness.add_profile(f"pro_x{number}"), [1, 2], price="1")
    await harness.run_process()
    with monkeypatch.context() as patched:
        patched.setattr(aggregations, "add_numbers", fail)
        await harness.database.execute(
            """
            INSERT INTO events (type, "profileGuid", "occurredAt") SELECT 'view', guid, now()
            FROM profiles WHERE guid LIKE 'pro_x%';
            INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'price', '1'
            FROM events WHERE "createdAt" = (SELECT max("createdAt") FROM events)
            """
        )
        await harness.run_process()
    assert await harness.read_set_aside() == {}
    (broken,) = (await rule_store.read_all_rules(harness.database.connection)).broken
    assert broken.key == "spent"
    assert re.fullmatch(r"ZeroDivisionError at properties/test_broken_rules.py:\d+", broken.problem)
    assert await harness.read_values("pro_x7", "visits") == ["3"]
    assert await harness.read_values("pro_x7", "spent") == ["2"]
    assert await harness.find_disagreements() == []
    await harness.apply(COUNT, PATHS, PRICE)
    await harness.run_process()
    assert await harness.read_values("pro_x7", "spent") == ["3"]
    assert await harness.find_disagreements() == []


async def test_a_rule_that_fails_for_one_profile_after_another_is_suspended(
    harness: PropertyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MAX_FAILURE_LEAD", 5)
    monkeypatch.setattr(aggregations, "add_numbers", fail)
    for number in range(12):
        await harness.add_views(await harness.add_profile(f"pro_x{number:02}"), [1, 2], price="1")
        await harness.run_process()
    assert len(await harness.read_set_aside()) <= 5
    assert await harness.read_values("pro_x11", "visits") == ["2"]


async def test_a_rule_that_works_for_others_is_not_suspended(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    defect.setattr(step, "MAX_FAILURE_LEAD", 3)
    for number in range(12):
        await harness.add_views(await harness.add_profile(f"pro_x{number:02}"), [1, 2], price="13")
        await harness.add_views("pro_1", [number], price="1")
        await harness.run_process()
    assert len(await harness.read_set_aside()) == 12
    assert await harness.read_values("pro_1", "spent") == ["12"]


async def test_an_audit_counts_set_aside_profiles_and_broken_rules(
    harness: PropertyHarness, defect: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        await harness.add_views(f"pro_{number}", [1, 2], price="13" if number == 2 else "1")
    await harness.run_process()
    await harness.database.execute(
        """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'paths'"""
    )
    defect.undo()
    report = await audit.audit(harness.database.connection, harness.now, lambda _: None)
    assert (report.set_aside, report.broken, report.disagreements) == (1, 1, [])
    assert (report.profiles, report.pending) == (2, 0)
