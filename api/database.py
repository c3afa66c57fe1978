"""A few connections to Postgres, opened when needed and again when lost, for many requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import metrics
from merganser.runtime.postgres import BY_KEY, DATA_WITH_EVENTS, Connection, connect

WAIT_SECONDS = 2.0
"""For a free connection; and for a row that the scanner has locked."""

GRACE_SECONDS = 2.0
"""Past the statement timeout: Postgres has not even said that it took too long."""


class Pool:
    """Lends connections.

    Args:
        url: of the database.
        size: how many connections at most.
        timeout: seconds of a statement.
    """

    def __init__(self, url: str, size: int, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        # Statements by key do not take what compiling them would save.
        self._settings = {
            **BY_KEY,
            **DATA_WITH_EVENTS,
            "jit": "off",
            "statement_timeout": f"{int(timeout * 1000)}ms",
            "lock_timeout": f"{WAIT_SECONDS:g}s",
        }
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A read-only transaction on one snapshot.

        Raises:
            HttpError: UNAVAILABLE, all connections are in use; TOO_SLOW.
            psycopg.Error: as it comes.
        """
        async with self._transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction that commits at the end of the `async with` block; raises as `reading`."""
        async with self._transaction("READ WRITE") as connection:
            yield connection

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while not self._free.empty():
            if connection := self._free.get_nowait():
                await connection.close()

    @asynccontextmanager
    async def _transaction(self, mode: str) -> AsyncIterator[Connection]:
        with metrics.POOL_WAIT_SECONDS.time():
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    connection = await self._free.get()
            except TimeoutError:
                raise HttpError(
                    ErrorKind.UNAVAILABLE, "too many requests at this moment: try again"
                ) from None
        try:
            async with asyncio.timeout(self._timeout + GRACE_SECONDS):
                if connection is None or connection.closed:
                    connection = await connect(self._url, "api", self._settings)
                async with connection.transaction(mode=mode):
                    yield connection
        except TimeoutError:
            if connection:
                await connection.close()
            raise HttpError(
                ErrorKind.UNAVAILABLE, "the database does not answer: try again"
            ) from None
        finally:
            self._free.put_nowait(connection)
