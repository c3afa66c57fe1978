"""Deleted events are remembered for as long as the topic may bring them back, and no longer."""

from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "deleted_events.sql")


async def expire(connection: AsyncConnection[Any], held: timedelta, at_most: int) -> bool:
    """Forget some deleted events that the topic no longer holds; whether there may be more.

    Args:
        connection: in a transaction.
        held: for how long the topic may hold a record.
        at_most: events to forget.
    """
    cursor = await connection.execute(_SQL["expire"], {"held": held, "at_most": at_most})
    return cursor.rowcount == at_most
