"""docs/tables.md describes the tables as migrations make them, and its SQL runs."""

import re
import uuid
from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection, errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support import ROOT
from tests.support.database import Database

PAGE = (ROOT / "docs" / "tables.md").read_text()
CONTRACT, ROLE, INSERTS, QUERIES, OTHERS = re.split(
    r"^## (?:A role that only reads|Insert an event|Example queries|Other tables)$",
    PAGE,
    flags=re.MULTILINE,
)
RECIPE, MAY_INSERT = re.findall(r"```sql\n(.*?)```", ROLE, re.DOTALL)


def _statements(part: str) -> list[str]:
    return re.findall(r"```sql\n(.*?)```", part, re.DOTALL)


def _described() -> set[tuple[str, str, str, bool]]:
    """Return table, column, type and whether it may be null, of each column that the page has."""
    found = set()
    for section in CONTRACT.split("\n## ")[1:]:
        table = section.split("\n")[0]
        for column, kind, null in re.findall(
            r"^\| `(\w+)` \| ([\w\[\]]+) \| (yes|no) \|", section, re.MULTILINE
        ):
            found.add((table, column, kind, null == "yes"))
    return found


async def test_every_column_of_the_contract_is_described(database: Database) -> None:
    kinds = {"timestamp with time zone": "timestamptz", "ARRAY": "text[]"}
    described = _described()
    rows = await database.rows(
        """SELECT table_name, column_name, data_type, is_nullable = 'YES'
        FROM information_schema.columns WHERE table_schema = 'public'"""
    )
    existing = {
        (table, column, kinds.get(kind, kind), null)
        for table, column, kind, null in rows
        if table in {name for name, *_ in described}
    }
    assert described == existing


async def test_every_table_is_on_the_page(database: Database) -> None:
    tables = await database.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    contract = {table for table, *_ in _described()}
    others = set(re.findall(r"^\| `(\w+)` \|", OTHERS, re.MULTILINE))
    assert contract | others == set(tables)
    assert not contract & others


@pytest.fixture
async def analyst(database: Database) -> AsyncIterator[tuple[str, str]]:
    """A role made by the page's recipe, and the URL to connect as it."""
    name = f"analyst_{uuid.uuid4().hex}"
    await database.connection.execute(RECIPE.replace("analyst", name).encode())
    try:
        yield name, make_conninfo(database.url, user=name, password="change me")
    finally:
        for end in ("DROP OWNED BY {}", "DROP ROLE {}"):
            await database.connection.execute(sql.SQL(end).format(sql.Identifier(name)))


async def test_the_role_reads_and_does_nothing_else(
    database: Database, analyst: tuple[str, str]
) -> None:
    _, url = analyst
    assert conninfo_to_dict(url)["dbname"] == conninfo_to_dict(database.url)["dbname"]
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        for query in _statements(QUERIES):
            await connection.execute(query.encode())
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute('SELECT * FROM "apiKeys"')
        with pytest.raises(errors.ReadOnlySqlTransaction):
            await connection.execute("INSERT INTO events (type, \"userId\") VALUES ('refund', '1')")


async def test_with_the_second_grant_the_role_inserts_events(
    database: Database, analyst: tuple[str, str]
) -> None:
    name, url = analyst
    role = sql.Identifier(name)
    await database.connection.execute(MAY_INSERT.replace("analyst", name).encode())
    await database.connection.execute(
        sql.SQL("ALTER ROLE {} RESET default_transaction_read_only").format(role)
    )
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in _statements(INSERTS):
            await connection.execute(statement.encode())
    assert await database.count("events") == 2
    assert await database.count("eventData") == 2
