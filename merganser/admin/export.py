"""Everything that is held about a person, a JSON object for each thing (`merganser export`)."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from psycopg import AsyncConnection

from merganser.admin.database import connected
from merganser.runtime import sql
from merganser.runtime.settings import Settings

_SQL = sql.load(__package__, "export.sql")

FETCHED = 500
"""Rows that are held in memory at a time."""


async def export(settings: Settings, profile: str, write: Callable[[str], object]) -> int:
    """Write everything that is held about a profile, a JSON object a line; how many lines."""
    written = 0
    async with await connected(settings, "export") as connection:
        async for line in lines(connection, profile):
            write(line + "\n")
            written += 1
    return written


async def lines(connection: AsyncConnection[Any], profile: str) -> AsyncIterator[str]:
    """JSON objects, whose `kind` says what each is.

    profile, anonymousId, merge, property, propertyState, propertyRecount, decoration or event.

    The values of an event's `data` are pairs, as a key may occur twice. One snapshot, no lock.

    Args:
        connection: in autocommit mode.
        profile: its guid.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for kind, statement in _SQL.items():
            async with connection.cursor(f"held_{kind}") as cursor:
                cursor.itersize = FETCHED
                await cursor.execute(statement, {"profile": profile})
                async for (line,) in cursor:
                    yield line
