"""Rules applied while others write events."""

import asyncio

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
    """A writer that has come to the profiles goes on to the events, while the rules wait for it."""
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
    await harness.settle()
    assert await harness.value("pro_1", "visits") == ["1"]


async def test_a_writer_that_takes_long_is_not_waited_for_without_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for one writer holds up all others."""
    monkeypatch.setitem(rule_store._SQL, "patience", b"SET LOCAL lock_timeout = '100ms'")  # noqa: SLF001
    async with await connect(database.url, "test") as writer, writer.transaction():
        await writer.execute("INSERT INTO events (type, \"userId\") VALUES ('view', '1')")
        with pytest.raises(LockNotAvailable):
            await rule_store.apply_file(database.connection, RULES)
    assert await rule_store.read_rules(database.connection) == []


async def test_a_file_that_says_the_same_changes_nothing(database: Database) -> None:
    await rule_store.apply_file(database.connection, RULES)
    before = await rule_store.read_rules(database.connection)
    assert not await rule_store.apply_file(database.connection, RULES)
    assert await rule_store.read_rules(database.connection) == before


async def test_only_what_changed_is_counted_anew(database: Database) -> None:
    harness = PropertyHarness(database)
    await harness.apply(COUNT, PATHS)
    before = {
        one.rule.key: one.revision for one in await rule_store.read_rules(database.connection)
    }
    await harness.apply({**COUNT, "type": "float"}, PATHS)
    after = {one.rule.key: one.revision for one in await rule_store.read_rules(database.connection)}
    assert {key for key in after if after[key] != before[key]} == {"visits"}
