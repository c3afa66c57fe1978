"""Export everything stored about a person as JSON lines (`merganser export`).

The SQL reads tables that other folders own: an export must have all of them in one snapshot.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.database import open_connection
from merganser.admin.forget import PersonNotFound
from merganser.identity import forget as identity
from merganser.runtime import sql
from merganser.runtime.settings import Settings

_SQL = sql.load(__package__, "export.sql")

FETCH_SIZE = 500
"""Rows held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Export:
    """A finished export."""

    profile: str
    lines: int


async def export_person(settings: Settings, name: str, write: Callable[[str], object]) -> Export:
    """Write a JSON object for each thing stored about a person, one a line.

    `kind` says what an object is: profile, anonymousId, merge, property, propertyState,
    propertyRecount, decoration or event. An event's `data` is a list of key-value objects, as a key
    may occur twice.

    Args:
        settings: the database's URL.
        name: a userId or the guid of a profile.
        write: receives each line, with its line feed.

    Raises:
        PersonNotFound: no profile has this userId or guid.
    """
    async with open_connection(settings, "export") as connection:
        person = await identity.find_person(connection, name)
        if person is None:
            raise PersonNotFound
        written = 0
        async for line in _read_lines(connection, person.profile):
            write(line + "\n")
            written += 1
    return Export(person.profile, written)


async def _read_lines(connection: AsyncConnection[Any], profile: str) -> AsyncIterator[str]:
    """Yield JSON objects, all from one snapshot. Takes no locks."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for name, statement in _SQL.items():
            async with connection.cursor(f"export_{name}") as cursor:
                cursor.itersize = FETCH_SIZE
                await cursor.execute(statement, {"profile": profile})
                async for (line,) in cursor:
                    yield line
