"""Persons to erase, and the search for traces of them in all tables."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from psycopg import sql

from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from schemas.event import Event
from tests.decoration.harness import USER_ID
from tests.support.database import Database
from tests.support.events import event

PLANS = "SELECT id, plan FROM users WHERE id = ANY(:userIds)"
AGES = "SELECT id, age::integer AS age FROM users WHERE id = ANY(:userIds)"
DOCUMENTED = {"erasureLedger": "profileGuid"}
"""The only column that keeps a trace."""


class Person(NamedTuple):
    """The ids of a person, and a text in everything that is stored about the person."""

    user_id: str
    phone: str
    laptop: str
    tablet: str
    watch: str
    mark: str

    @classmethod
    def named(cls, name: str) -> "Person":
        """Return the ids of a person; JSON escapes some of their characters."""
        return cls(*(f'{name}\'s "{thing}" é' for thing in cls._fields))


ANN, BOB = Person.named("ann"), Person.named("bob")


def linked(person: Person, device: str, at: float) -> Event:
    return event(person.user_id, device, "sign-in", at, note=person.mark)


async def apply_rules(database: Database, *rules: dict[str, Any]) -> None:
    sources = {"crm": {"url": "CRM_URL"}} if rules else {}
    file = RuleFile.model_validate(
        {"sources": sources, "rules": [USER_ID, *rules] if rules else []}
    )
    await rule_store.apply_file(database.connection, file)


async def read_tables(database: Database) -> dict[str, list[dict[str, str]]]:
    """Return every row of every table, as the texts of its columns."""
    columns = await database.rows(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns "
        "WHERE table_schema = 'public' GROUP BY 1"
    )
    tables: dict[str, list[dict[str, str]]] = {}
    for table, names in columns:
        cursor = await database.connection.execute(
            sql.SQL("SELECT {} FROM {}").format(
                sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(n)) for n in names),
                sql.Identifier(table),
            )
        )
        tables[table] = [
            {name: text for name, text in zip(names, row, strict=True) if text is not None}
            for row in await cursor.fetchall()
        ]
    return tables


def find_traces(
    tables: dict[str, list[dict[str, str]]], traces: Iterable[str]
) -> set[tuple[str, str]]:
    """Return the columns that name one of the traces, also as JSON or an array escapes it."""
    escaped = {
        form
        for trace in traces
        for form in (trace, json.dumps(trace)[1:-1], json.dumps(trace, ensure_ascii=False)[1:-1])
    }
    return {
        (table, column)
        for table, rows in tables.items()
        for row in rows
        for column, text in row.items()
        if any(form in text for form in escaped)
    }
