"""How commands work with Postgres: by one connection, or in many short transactions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection

from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Connection, Database, connect
from merganser.runtime.settings import Settings
from schemas import migrations

Result = TypeVar("Result")


async def connected(settings: Settings, name: str) -> Connection:
    """A connection in autocommit mode, whose statements outside of transactions see UTC as well.

    A pooler of transactions that does not keep a client's time zone, as PgBouncer does, may lose
    it: what a command shows then has the zone of the server.

    Args:
        settings: where Postgres is.
        name: of the command, for Postgres to show.

    Raises:
        psycopg.OperationalError: it cannot be reached, or does not let the command in.
    """
    connection = await connect(settings.database_url.get_secret_value(), name)
    await connection.execute("SET timezone = 'UTC'")
    return connection


class Transact(Protocol):
    """Runs work in a transaction until it commits."""

    async def __call__(
        self, work: Callable[[AsyncConnection[Any]], Awaitable[Result]], /
    ) -> Result:
        """See `merganser.runtime.postgres.Database.transact`."""


@asynccontextmanager
async def transactions(settings: Settings, name: str) -> AsyncIterator[Transact]:
    """A database that was reached once and whose tables this version works with.

    Raises:
        psycopg.OperationalError: it cannot be reached.
        SchemaError: its tables are others.
    """
    url = settings.database_url.get_secret_value()
    async with await connect(url, name) as connection:
        await migrations.check(connection)
    database, never = Database(url, name), Stop()

    async def transact(work: Callable[[AsyncConnection[Any]], Awaitable[Result]], /) -> Result:
        return await database.transact(work, never)

    try:
        yield transact
    finally:
        await database.close()
