"""Suppressed ids: whether an id is suppressed, and lifting that. `forget.py` suppresses ids."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "suppressed_ids.sql")


class Suppression(NamedTuple):
    """Since when an id is suppressed."""

    kind: Literal["userId", "anonymousId", "placeholder"]
    """What the id is; of a placeholder, events are stored without it."""
    since: datetime


async def readmit(connection: AsyncConnection[Any], name: str) -> bool:
    """Lift the suppression of a userId or anonymousId; return whether it was suppressed."""
    return (await connection.execute(_SQL["readmit"], {"name": name})).rowcount > 0


async def find_suppressions(connection: AsyncConnection[Any], name: str) -> list[Suppression]:
    """Return as which kinds of id an id is suppressed; empty if it is not."""
    cursor = await connection.execute(_SQL["find_suppressions"], {"name": name})
    return [Suppression(*row) for row in await cursor.fetchall()]
