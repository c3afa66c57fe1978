"""Applying rules while others write events."""

import asyncio
from collections.abc import Mapping

import pytest
from psycopg.errors import LockNotAvailable

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime.postgres import connect
from tests.properties.harness import COUNT, PATHS, USER_ID, PropertyHarness
from tests.support.database import Database, opened
from tests.support.waiting import eventually

RULES = RuleFile.model_validate({"rules": [USER_ID, COUNT]})


async def test_writers_and_rules_never_wait_for_each_other(database: Database) -> None:
    """A writer that has locked profiles can lock events while applying the rules waits for it."""
    async with await connect(database.url, "test") as writer:
        async with writer.transaction():
            await writer.execute("INSERT INTO profiles (guid) VALUES ('pro_1')")
            applied = asyncio.create_task(rule_store.apply_file(database.connection, RULES))
            async with opened(database.url) as other:
                await eventually(other.lock_waits)
            await writer.execute(
                'INSERT INTO events (guid, type, "profileGuid", "occurredAt") '
                "VALUES ('evt_1', 'view', 'pro_1', now())"
            )
            await writer.execute(
                "INSERT INTO \"eventData\" (\"eventGuid\", key, value) VALUES ('evt_1', 'k', 'v')"
            )
        await applied
    harness = PropertyHarness(database)
    await harness.run_steps()
    assert await harness.read_values("pro_1", "visits") == ["1"]


async def test_applying_rules_gives_up_behind_a_slow_writer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other writers wait behind it in the meantime."""
    monkeypatch.setattr(rule_store, "LOCK_TIMEOUT", "100ms")
    async with await connect(database.url, "test") as writer, writer.transaction():
        await writer.execute("INSERT INTO events (type, \"userId\") VALUES ('view', '1')")
        with pytest.raises(LockNotAvailable):
            await rule_store.apply_file(database.connection, RULES)
    assert await rule_store.read_rules(database.connection) == []


async def test_applying_the_same_file_changes_nothing(database: Database) -> None:
    await rule_store.apply_file(database.connection, RULES)
    before = await rule_store.read_rules(database.connection)
    assert not await rule_store.apply_file(database.connection, RULES)
    assert await rule_store.read_rules(database.connection) == before


async def test_only_changed_rules_get_a_new_revision(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply(COUNT, PATHS)
    before = {
        stored.rule.key: stored.revision
        for stored in await rule_store.read_rules(database.connection)
    }
    await harness.apply({**COUNT, "type": "float"}, PATHS)
    after = {
        stored.rule.key: stored.revision
        for stored in await rule_store.read_rules(database.connection)
    }
    assert {key for key in after if after[key] != before[key]} == {"visits"}


async def test_a_version_differs_after_each_change(database: Database) -> None:
    connection = database.connection
    versions = [await rule_store.read_version(connection)]
    for content in (
        {"rules": [USER_ID, COUNT]},
        {"rules": [USER_ID, {**COUNT, "type": "float"}]},
        {"rules": [USER_ID, COUNT]},
        {"rules": [USER_ID, COUNT], "sources": {"crm": {"url": "CRM_URL"}}},
        {"rules": [USER_ID]},
    ):
        await rule_store.apply_file(connection, RuleFile.model_validate(content))
        versions.append(await rule_store.read_version(connection))
        assert await rule_store.read_version(connection) == versions[-1]
    assert len(set(versions)) == len(versions)


async def test_of_two_who_replace_the_same_rules_one_is_refused(database: Database) -> None:
    version = await rule_store.read_version(database.connection)

    async def replace(*rules: Mapping[str, object]) -> rule_store.RuleChanges:
        file = RuleFile.model_validate({"rules": [USER_ID, *rules]})
        async with opened(database.url) as other:
            return await rule_store.apply_file(other.connection, file, version=version)

    results = await asyncio.gather(replace(COUNT), replace(PATHS), return_exceptions=True)
    assert {type(result) for result in results} == {
        rule_store.RuleChanges,
        rule_store.RulesChanged,
    }
    assert len(await rule_store.read_rules(database.connection)) == 2
