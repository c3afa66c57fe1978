"""Our own Postgres, for tasks that take turns on one connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from psycopg import AsyncConnection

from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database

Result = TypeVar("Result")


class Ours:
    """The process's connection, which has one transaction at a time."""

    def __init__(self, database: Database, stop: Stop) -> None:
        self._database = database
        self._stop = stop
        self._turn = asyncio.Lock()

    async def transact(
        self,
        work: Callable[[AsyncConnection[Any]], Awaitable[Result]],
        tries: int | None = None,
    ) -> Result:
        """Run the work in a transaction of its own, until it commits (see `Database.transact`)."""
        async with self._turn:
            return await self._database.transact(work, self._stop, tries)
