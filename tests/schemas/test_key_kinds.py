"""Postgres protects the kind of an API key."""

import psycopg
import pytest

from merganser.http.authentication import hash_key
from schemas import migrations
from tests.support import database as databases
from tests.support.database import Database

INSERT = 'INSERT INTO "apiKeys" (name, "keyHash", kind, permissions) VALUES (%s, %s, %s, %s)'


@pytest.fixture
async def keys(database: Database) -> Database:
    """A database with a key of each kind."""
    for kind in ("secret", "publishable"):
        await database.execute(INSERT, kind, hash_key(kind), kind, ["events:write"])
    return database


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE {} SET kind = 'secret'", "guid and kind of an API key cannot change"),
        ("UPDATE {} SET kind = 'publishable'", "guid and kind of an API key cannot change"),
        ("UPDATE {} SET guid = 'key_' || name", "guid and kind of an API key cannot change"),
        ("DELETE FROM {}", "the row of a publishable key cannot be deleted"),
        ("UPDATE {} SET permissions = '{{events:write,events:read}}'", "can only send events"),
        ("UPDATE {} SET permissions = '{{profiles:read}}'", "can only send events"),
        ("UPDATE {} SET kind = 'other'", "guid and kind|secret or publishable"),
        ("UPDATE {} SET origins = '{{https://a.example}}'", "only a publishable key has origins"),
        ("UPDATE {} SET rate = 0", "rate is a positive number"),
        ("UPDATE {} SET rate = 'nan'", "rate is a positive number"),
        ("UPDATE {} SET rate = 'infinity'", "rate is a positive number"),
    ],
)
async def test_postgres_refuses(keys: Database, change: str, problem: str) -> None:
    before = await keys.rows('SELECT * FROM "apiKeys" ORDER BY name')
    with pytest.raises(psycopg.errors.IntegrityError, match=problem):
        await keys.execute(change.format('"apiKeys"'))
    assert await keys.rows('SELECT * FROM "apiKeys" ORDER BY name') == before


async def test_postgres_allows_what_an_operator_needs(keys: Database) -> None:
    for change in (
        """SET rate = 500, origins = '{https://a.example}' WHERE kind = 'publishable'""",
        """SET permissions = '{events:read}' WHERE kind = 'secret'""",
        'SET "revokedAt" = now()',
    ):
        await keys.execute(f'UPDATE "apiKeys" {change}')
    assert await keys.count("apiKeys") == 2


async def test_keys_from_before_the_migration_are_secret_keys(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: known[:12])
    await migrations.migrate(empty_database_url)
    monkeypatch.undo()
    async with databases.opened(empty_database_url) as opened:
        await opened.execute(
            """INSERT INTO "apiKeys" (name, "keyHash", permissions, "revokedAt")
            VALUES ('old', 'a', '{events:write,profiles:read}', NULL), ('gone', 'b', '{}', now())"""
        )
        await migrations.migrate(empty_database_url)
        rows = 'SELECT name, kind, permissions, origins, rate FROM "apiKeys" ORDER BY name'
        assert await opened.rows(rows) == [
            ("gone", "secret", [], [], None),
            ("old", "secret", ["events:write", "profiles:read"], [], None),
        ]
