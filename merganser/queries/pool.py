"""The pool of connections to Postgres that the requests of one process share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Histogram
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime.postgres import (
    BY_KEY,
    DATA_WITH_EVENTS,
    SAFE,
    Connection,
    connection_options,
)

WAIT_SECONDS = 2.0
"""The longest wait for a free connection, and for a row that another writer has locked."""

GRACE_SECONDS = 2.0
"""How long after the statement timeout a connection counts as lost: Postgres itself should have
canceled the statement by then."""

CLOSE_SECONDS = 1.0
"""How long closing the pool waits for connection attempts that are under way."""


class Pool:
    """A bounded pool of connections.

    Connections are opened when requests need them. A lost connection is replaced.

    Args:
        name: of the process; Postgres shows it as the application, after "merganser".
        wait_seconds: measures how long requests wait for a connection.
        url: the database's URL.
        size: the most connections.
        statement_timeout: in seconds.
        wait: the longest wait for a connection, in seconds.
    """

    def __init__(
        self,
        name: str,
        wait_seconds: Histogram,
        url: str,
        size: int,
        statement_timeout: float,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self._wait_seconds = wait_seconds
        self._statement_timeout = statement_timeout
        self._wait = wait
        self._settings = {
            **SAFE,
            **BY_KEY,
            **DATA_WITH_EVENTS,
            # Compiling costs more than these short statements gain.
            "jit": "off",
            "statement_timeout": f"{int(statement_timeout * 1000)}ms",
            "lock_timeout": f"{WAIT_SECONDS:g}s",
        }
        self._pool = AsyncConnectionPool(
            url,
            connection_class=Connection,
            kwargs=connection_options(name),
            configure=self._configure,
            min_size=0,
            max_size=size,
            # Give up soon: the next request then tries again, however long Postgres was away.
            reconnect_timeout=WAIT_SECONDS,
            name=name,
            open=False,
        )

    async def open(self) -> None:
        """Start the pool's tasks; needs a running event loop, but no Postgres."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close(CLOSE_SECONDS)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Run the `async with` block in a read-only transaction on one snapshot.

        Raises:
            HttpError: UNAVAILABLE, no connection became free in time or Postgres stopped answering.
            psycopg.Error: any error of a statement.
        """
        async with self._transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """Run the `async with` block in a transaction and commit it; raises what `reading` does."""
        async with self._transaction("READ WRITE") as connection:
            yield connection

    async def _configure(self, connection: Connection) -> None:
        connection.local = self._settings

    @asynccontextmanager
    async def _transaction(self, mode: str) -> AsyncIterator[Connection]:
        with self._wait_seconds.time():
            try:
                connection = await self._pool.getconn(self._wait)
            except PoolTimeout:
                raise HttpError(
                    ErrorKind.UNAVAILABLE, "no connection to the database is free: try again"
                ) from None
        try:
            async with (
                asyncio.timeout(self._statement_timeout + GRACE_SECONDS),
                connection.transaction(mode=mode),
            ):
                yield connection
        except TimeoutError:
            await connection.close()
            raise HttpError(
                ErrorKind.UNAVAILABLE, "the database does not answer: try again"
            ) from None
        finally:
            await self._pool.putconn(connection)
