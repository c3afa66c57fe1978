"""Whether something that names an id is older than an erasure of that id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "erased_ids.sql")


class NamedId(NamedTuple):
    """An id that something names."""

    kind: Literal["userId", "anonymousId"]
    id: str
    written_at: datetime
    """When what names the id was written."""


async def find_erased(connection: AsyncConnection[Any], named: Sequence[NamedId]) -> set[NamedId]:
    """Return the ids of people who were erased later, or whose ids are suppressed since.

    Args:
        connection: to read with.
        named: ids; each is compared by its hash.
    """
    if not named:
        return set()
    cursor = await connection.execute(
        _SQL["find_erased"],
        {
            "kinds": sql.texts(kind for kind, _, _ in named),
            "ids": sql.texts(id_ for _, id_, _ in named),
            "times": [written_at for _, _, written_at in named],
        },
    )
    return {named[position - 1] for (position,) in await cursor.fetchall()}
