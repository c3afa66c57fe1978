"""Migrations are applied once, in order, and completely."""

import asyncio

import psycopg
import pytest

from schemas import migrations
from schemas.migrations import SchemaError
from tests.support import database


async def test_ten_concurrent_runs_apply_each_migration_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrations.migrate(empty_database_url) for _ in range(10)))
    versions = sorted(migration.version for run in applied for migration in run)
    assert versions == [migration.version for migration in migrations.available()]
    async with database.opened(empty_database_url) as opened:
        ledger = await opened.rows('SELECT version, name FROM "schemaMigrations" ORDER BY version')
        assert ledger == [(m.version, m.name) for m in migrations.available()]
        await migrations.check(opened.connection)


async def test_applied_migrations_are_not_applied_again(database_url: str) -> None:
    assert await migrations.migrate(database_url) == []


def test_numbers_are_consecutive() -> None:
    versions = [migration.version for migration in migrations.available()]
    assert versions == list(range(1, len(versions) + 1))


async def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    async with database.opened(database_url) as opened:
        await opened.execute("""INSERT INTO "schemaMigrations" VALUES (9999, '9999_future')""")
        with pytest.raises(SchemaError, match=r"9999.*upgrade merganser"):
            await migrations.migrate(database_url)
        with pytest.raises(SchemaError, match="9999"):
            await migrations.check(opened.connection)


async def test_newer_migrations_are_accepted_only_if_all_are_compatible(database_url: str) -> None:
    async with database.opened(database_url) as opened:
        await opened.execute(
            """INSERT INTO "schemaMigrations" VALUES (9998, '9998_one.compatible')"""
        )
        assert await migrations.migrate(database_url) == []
        await migrations.check(opened.connection)
        await opened.execute("""INSERT INTO "schemaMigrations" VALUES (9997, '9997_other')""")
        with pytest.raises(SchemaError, match=r"9997.*upgrade merganser"):
            await migrations.check(opened.connection)


async def test_a_missing_compatible_migration_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = migrations.Migration(9998, "9998_one.compatible", "SELECT 1")
    known = [*migrations.available(), future]
    monkeypatch.setattr(migrations, "available", lambda: known)
    async with database.opened(database_url) as opened:
        with pytest.raises(SchemaError, match=r"9998_one\.compatible.*run `merganser migrate`"):
            await migrations.check(opened.connection)


async def test_a_database_without_tables_is_refused(empty_database_url: str) -> None:
    async with database.opened(empty_database_url) as opened:
        with pytest.raises(SchemaError, match=r"0001_events.*run `merganser migrate`"):
            await migrations.check(opened.connection)


async def test_a_failing_migration_leaves_nothing_behind(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (
        migrations.Migration(1, "0001_good", "CREATE TABLE good ()"),
        migrations.Migration(2, "0002_bad", "CREATE TABLE half (); SELECT nonsense"),
    )
    monkeypatch.setattr(migrations, "available", lambda: [good, bad])
    with pytest.raises(psycopg.errors.UndefinedColumn):
        await migrations.migrate(empty_database_url)
    async with database.opened(empty_database_url) as opened:
        assert await opened.column("SELECT to_regclass('half')") == [None]
        assert await opened.column('SELECT version FROM "schemaMigrations"') == [1]


async def test_an_unfinished_erasure_gets_a_row_in_the_ledger(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: [m for m in known if m.version < 16])
    await migrations.migrate(empty_database_url)
    async with database.opened(empty_database_url) as opened:
        await opened.execute("""INSERT INTO erasures ("profileGuid") VALUES ('pro_1'), ('pro_2')""")
        monkeypatch.undo()
        await migrations.migrate(empty_database_url)
        assert await opened.rows(
            'SELECT erasures."profileGuid", ledger."finishedAt", ledger."startedAt" = "createdAt" '
            'FROM erasures JOIN "erasureLedger" AS ledger '
            'ON ledger.guid = "ledgerGuid" AND ledger."profileGuid" = erasures."profileGuid" '
            "ORDER BY 1"
        ) == [("pro_1", None, True), ("pro_2", None, True)]


async def test_a_view_in_the_way_of_a_migration_is_named(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: known[:7])
    await migrations.migrate(empty_database_url)
    monkeypatch.undo()
    async with database.opened(empty_database_url) as opened:
        await opened.execute("CREATE VIEW theirs AS SELECT type FROM events")
        with pytest.raises(SchemaError, match=r"0009_collation: .*theirs.*drop that"):
            await migrations.migrate(empty_database_url)
        await opened.execute("DROP VIEW theirs")
        assert "0009_collation" in [m.name for m in await migrations.migrate(empty_database_url)]
