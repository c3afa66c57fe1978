"""Which events came over a publishable key: their links count from when they were received."""

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "publishable_keys.sql")


class PublishableKeys:
    """The kinds of API keys by guid. A kind never changes, so a known one is not read again."""

    def __init__(self) -> None:
        self._is_publishable: dict[str, bool] = {}

    async def find(
        self, connection: AsyncConnection[Any], guids: Iterable[str | None]
    ) -> frozenset[str]:
        """Return those of the guids that are publishable keys.

        Args:
            connection: only for keys that were not read before.
            guids: `producerGuid` of events. One without a key counts as a secret key.
        """
        wanted = {guid for guid in guids if guid is not None}
        if unknown := wanted - self._is_publishable.keys():
            cursor = await connection.execute(_SQL["read_kinds"], {"guids": sql.texts(unknown)})
            self._is_publishable.update(await cursor.fetchall())
        return frozenset(guid for guid in wanted if self._is_publishable.get(guid))
