"""Find the profile that a rule is tried on."""

from typing import Any

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "profile_lookup.sql")


async def find_profile(
    connection: AsyncConnection[Any], any_id: str
) -> tuple[str, str | None] | None:
    """Return a profile's guid and userId, or None if no profile has the id.

    Args:
        connection: to read with.
        any_id: a profile's guid, a userId or an anonymousId.
    """
    cursor = await connection.execute(_SQL["find_profile"], {"any_id": any_id})
    return await cursor.fetchone()
