"""Expires entries of `"deletedEvents"`, which are needed while the topic may redeliver events."""

from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "deleted_events.sql")


async def expire(connection: AsyncConnection[Any], retention: timedelta, at_most: int) -> bool:
    """Delete some expired entries.

    Args:
        connection: in a transaction.
        retention: for how long the topic may keep a record.
        at_most: number of entries to delete.

    Returns:
        Whether there may be more.
    """
    cursor = await connection.execute(_SQL["expire"], {"retention": retention, "at_most": at_most})
    return cursor.rowcount == at_most
