"""Work in many short transactions, each tried again until it commits, for long commands."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection

from runtime.lifecycle import Stop
from runtime.postgres import Database, connect
from runtime.settings import Settings
from schemas import migrations

Result = TypeVar("Result")


class Transact(Protocol):
    """Runs work in a transaction until it commits."""

    async def __call__(
        self, work: Callable[[AsyncConnection[Any]], Awaitable[Result]], /
    ) -> Result:
        """See `runtime.postgres.Database.transact`."""


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
