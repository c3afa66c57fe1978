"""The tables, as external writers use them."""

import uuid
from datetime import timedelta

import psycopg
import pytest

from tests.support.database import Database


async def test_an_external_writer_needs_only_type_and_an_id(database: Database) -> None:
    await database.execute("""INSERT INTO events (type, "userId") VALUES ('refund', '123')""")
    ((guid, profile, created, updated, occurred, now),) = await database.rows(
        'SELECT guid, "profileGuid", "createdAt", "updatedAt", "occurredAt", now() FROM events'
    )
    assert guid.startswith("evt_")
    assert uuid.UUID(guid.removeprefix("evt_")).version == 7
    assert created == updated
    assert now - created < timedelta(minutes=1)
    assert (profile, occurred) == (None, None)


async def test_data_rows_need_no_event_yet(database: Database) -> None:
    await database.execute(
        """INSERT INTO "eventData" ("eventGuid", key, value) VALUES ('evt_later', 'k', 'v')"""
    )
    guid = await database.value('SELECT guid FROM "eventData"')
    assert guid.startswith("edt_")
    assert uuid.UUID(guid.removeprefix("edt_")).version == 7


async def test_an_api_key_needs_name_hash_and_permissions(database: Database) -> None:
    await database.execute(
        """INSERT INTO "apiKeys" (name, "keyHash", permissions) VALUES ('n', 'h', '{}')"""
    )
    guid, revoked = (await database.rows('SELECT guid, "revokedAt" FROM "apiKeys"'))[0]
    assert guid.startswith("key_")
    assert revoked is None


async def test_guids_from_the_database_are_unique_and_have_the_current_time(
    database: Database,
) -> None:
    guids = await database.column("""SELECT "newGuid"('evt_') FROM generate_series(1, 10000)""")
    assert len(set(guids)) == 10000
    seconds = await database.value("SELECT extract(epoch FROM now())::float8")
    assert abs((uuid.UUID(guids[0][4:]).int >> 80) / 1000 - seconds) < 60


@pytest.mark.parametrize("version", ["evt_7b0c6d5e-0f1a-4b2c-8d3e-4f5a6b7c8d9e", "evt_anything"])
async def test_a_writer_can_set_the_guid(database: Database, version: str) -> None:
    await database.execute(
        """INSERT INTO events (guid, type, "userId") VALUES (%s, 't', '1')""", version
    )
    assert await database.column("SELECT guid FROM events") == [version]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("guid", "pro_1", "guid has the prefix evt_"),
        ("occurredAt", "0001-01-01 00:00 BC", "times lie in the years 1 to 9999"),
        ("occurredAt", "10000-01-01", "times lie in the years 1 to 9999"),
        ("occurredAt", "infinity", "times lie in the years 1 to 9999"),
        ("createdAt", "infinity", "times lie in the years 1 to 9999"),
        ("updatedAt", "infinity", "updatedAt lies in the years 1 to 9999"),
        ("updatedAt", "10000-01-01", "updatedAt lies in the years 1 to 9999"),
        ("guid", "evt_a/b", "guid has no slash"),
        ("userId", "x" * 513, "ids and type have at most 512 characters"),
        ("anonymousId", "x" * 513, "ids and type have at most 512 characters"),
    ],
)
async def test_an_invalid_value_is_refused_with_a_reason(
    database: Database, column: str, value: str, message: str
) -> None:
    statement = psycopg.sql.SQL("INSERT INTO events (type, {}) VALUES ('t', %s)").format(
        psycopg.sql.Identifier(column)
    )
    with pytest.raises(psycopg.errors.CheckViolation, match=message):
        await database.connection.execute(statement, (value,))


async def test_ids_can_have_512_characters_of_any_script(database: Database) -> None:
    await database.execute(
        'INSERT INTO events (type, "userId", "anonymousId") VALUES (%(x)s, %(x)s, %(x)s)'.replace(
            "%(x)s", "repeat('🦆', 512)"
        )
    )
    assert await database.count("events") == 1


async def test_a_type_is_required(database: Database) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation, match="type"):
        await database.execute("""INSERT INTO events ("userId") VALUES ('1')""")


async def test_all_text_columns_compare_bytes(database: Database) -> None:
    """Locales differ between servers, so all columns and indexes have the collation "C"."""
    others = await database.rows(
        """
        SELECT relations.relname, columns.attname
        FROM pg_class AS relations
        JOIN pg_attribute AS columns ON columns.attrelid = relations.oid
        WHERE relations.relnamespace = 'public'::regnamespace AND NOT columns.attisdropped
            AND columns.attcollation <> 0
            AND columns.attcollation <> 'pg_catalog."C"'::regcollation
        UNION ALL
        SELECT relations.relname, 'in its index'
        FROM pg_class AS relations
        JOIN pg_index AS indexes ON indexes.indexrelid = relations.oid
        CROSS JOIN LATERAL unnest(indexes.indcollation) AS compared (rule)
        WHERE relations.relnamespace = 'public'::regnamespace
            AND compared.rule <> 0
            AND compared.rule <> 'pg_catalog."C"'::regcollation
        """
    )
    assert others == []
