"""Each table has one owner, as docs/architecture.md says: other folders call the owner's functions.

Only its owner writes a table. All may read the tables of the public contract (docs/tables.md); only
their owners read the others.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT
from tests.support.database import Database

FOLDERS = ("api", "decoration", "ingest", "merganser", "properties", "resolver", "scanner")
"""Not dev/: its benchmarks fill their own databases."""

PUBLIC = set(re.findall(r"^## (\w+)$", (ROOT / "docs" / "tables.md").read_text(), re.MULTILINE))

ONE_SNAPSHOT = "an export reads all that is stored about a person in one snapshot"
SKIPS = (
    "finds, locks or counts items without those that are set aside, by an index, in one statement"
)
COUNTS = "counts the items that a trigger deletes with these events, for the ledger of erasures"
EXCEPTIONS = {
    ("merganser/admin/sql/export.sql", "property_states", "propertyStates"): ONE_SNAPSHOT,
    ("merganser/admin/sql/export.sql", "property_rebuilds", "propertyRecounts"): ONE_SNAPSHOT,
    ("merganser/admin/sql/export.sql", "decorations", "profileDecorations"): ONE_SNAPSHOT,
    ("merganser/admin/sql/export.sql", "events", "eventMoves"): ONE_SNAPSHOT,
    ("merganser/admin/sql/export.sql", "links", "ignoredLinks"): ONE_SNAPSHOT,
    ("merganser/admin/sql/export.sql", "links", "linkChanges"): ONE_SNAPSHOT,
    ("merganser/identity/sql/forget.sql", "lock_next_erasure", "setAside"): SKIPS,
    ("merganser/identity/sql/forget.sql", "delete_rows", "setAside"): COUNTS,
    ("merganser/identity/sql/forget.sql", "delete_events", "setAside"): COUNTS,
    ("merganser/identity/sql/placeholder.sql", "clear_rows", "setAside"): COUNTS,
    ("merganser/identity/sql/store.sql", "lock_next_move", "setAside"): SKIPS,
    ("scanner/sql/rows.sql", "lock_next_rows", "setAside"): SKIPS,
    ("scanner/sql/rows.sql", "count_unresolved", "setAside"): SKIPS,
    ("properties/sql/rebuild.sql", "read_rebuilds", "setAside"): SKIPS,
    ("properties/sql/store.sql", "read_profiles", "setAside"): SKIPS,
    ("resolver/sql/events.sql", "find_known", "deletedEvents"): (
        "one statement for each batch finds the events not to store"
    ),
    ("merganser/queries/sql/profiles.sql", "properties", "profilePropertyRules"): (
        "values and their types are of one snapshot"
    ),
    ("decoration/sql/schedule.sql", "delete_source", "profilePropertyRules"): (
        "no rule can be applied between the check and the deletion"
    ),
}
"""Statements that read a table of another folder, each with the reason."""

_STATEMENT = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|LOCK|COPY|TRUNCATE) ")
"""How the text of a statement begins."""


class Statement(NamedTuple):
    """A statement of a file."""

    file: str
    """Path from the root of the repository."""
    name: str
    sql: str


def read_owners() -> dict[str, tuple[str, ...]]:
    """Return the folders that own each table, from docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split("\n## Tables\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+`) \| (`.+`) \|$", section, re.MULTILINE)
    return {
        table: tuple(re.findall(r"`([\w/]+)/`", owners))
        for owners, tables in rows
        for table in re.findall(r"`(\w+)`", tables)
    }


def read_statements() -> Iterator[Statement]:
    """Yield every statement of the SQL files, and those that are texts in Python files."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.sql")):
            names = re.split(r"^-- (\w+) --$", path.read_text(), flags=re.MULTILINE)[1:]
            for name, sql in zip(names[::2], names[1::2], strict=True):
                yield Statement(str(path.relative_to(ROOT)), name, sql)
        for path in sorted((ROOT / folder).rglob("*.py")):
            for sql in find_sql_in(path):
                yield Statement(str(path.relative_to(ROOT)), "", sql)


def find_sql_in(path: Path) -> Iterator[str]:
    """Yield the texts of a Python file that begin like a statement."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Constant(value=str(text)) if _STATEMENT.match(text):
                yield text


def strip(sql: str) -> str:
    """Return a statement without comments, literals and parameters: they may look like tables."""
    return re.sub(r"--[^\n]*|'[^']*'|%\(\w+\)s", "", sql)


def find_written(sql: str) -> set[str]:
    """Return the names after INSERT INTO, UPDATE, DELETE FROM, COPY and TRUNCATE."""
    return set(
        re.findall(
            r"(?:\bINSERT INTO|(?<!FOR )(?<!KEY )(?<!DO )\bUPDATE|\bDELETE FROM|\bCOPY|\bTRUNCATE)"
            r'\s+"?(\w+)',
            strip(sql),
        )
    )


def find_named(sql: str) -> set[str]:
    """Return all names in a statement, tables and others."""
    return set(re.findall(r"\w+", strip(sql)))


def owns(folders: tuple[str, ...], file: str) -> bool:
    """Return whether a file is in one of these folders."""
    return any(file.startswith(f"{folder}/") for folder in folders)


def find_violations(
    statement: Statement, owners: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the file, the statement and each table that it may not write or read."""
    used = find_written(statement.sql) | find_named(statement.sql) - PUBLIC
    for table, folders in owners.items():
        if table in used and not owns(folders, statement.file):
            yield statement.file, statement.name, table


async def test_every_table_has_an_owner(database: Database) -> None:
    tables = await database.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    owners = read_owners()
    assert owners.keys() == set(tables)
    assert all(owners.values())


def test_statements_write_and_read_only_tables_that_they_may() -> None:
    owners = read_owners()
    violations = {
        violation
        for statement in read_statements()
        for violation in find_violations(statement, owners)
    }
    assert violations - EXCEPTIONS.keys() == set()
    assert EXCEPTIONS.keys() - violations == set(), "these need no exception"


def test_no_exception_writes_a_table_of_another_folder() -> None:
    owners = read_owners()
    for statement in read_statements():
        foreign = {table for table in find_written(statement.sql) if table in owners}
        assert all(owns(owners[table], statement.file) for table in foreign), statement


def test_the_reader_of_statements_tells_writes_from_reads() -> None:
    assert find_written('INSERT INTO "setAside" AS stored (kind) SELECT FROM events') == {
        "setAside"
    }
    assert find_written("WITH a AS (DELETE FROM profiles) UPDATE events AS e SET b = 1") == {
        "profiles",
        "events",
    }
    assert find_written("SELECT FROM a FOR NO KEY UPDATE; SELECT FROM b FOR UPDATE OF b") == set()
    assert find_written("INSERT INTO a SELECT 1 ON CONFLICT (b) DO UPDATE SET b = 2") == {"a"}
    assert find_written("-- DELETE FROM profiles\nSELECT 'UPDATE events', %(erasures)s") == set()
    assert "erasures" not in find_named("SELECT 'erasures', %(erasures)s -- erasures")
    assert "erasures" in find_named('SELECT EXISTS (SELECT FROM "erasures")')
