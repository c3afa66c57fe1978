"""Postgres connections for operations: one connection, or many short transactions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from psycopg import AsyncConnection

from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Connection, Database, connect
from merganser.runtime.settings import Settings
from schemas import migrations

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


@asynccontextmanager
async def open_connection(settings: Settings, name: str) -> AsyncIterator[Connection]:
    """Open a connection in autocommit mode for the length of an `async with` block.

    Its time zone is UTC, in statements outside of transactions too. A pooler in transaction mode
    that does not track a client's time zone, as PgBouncer does, may lose this setting: a command
    then prints times in the server's zone.

    Args:
        settings: the database's URL.
        name: of the operation; Postgres shows it as the application's name.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached, or refuses the connection.
    """
    async with await connect(settings.database_url.get_secret_value(), name) as connection:
        await connection.execute("SET timezone = 'UTC'")
        yield connection


async def run_in_transaction(
    settings: Settings,
    operation: str,
    work: Callable[Concatenate[Connection, Arguments], Awaitable[Result]],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Result:
    """Run a function in one transaction on a new connection.

    Args:
        settings: the database's URL.
        operation: Postgres shows it as the application's name.
        work: gets the connection, and the other arguments.
        arguments: of the work.
        named: arguments of the work.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached, or refuses the connection.
    """
    async with open_connection(settings, operation) as connection, connection.transaction():
        return await work(connection, *arguments, **named)


class Transact(Protocol):
    """Runs a function in a transaction, again until it commits."""

    async def __call__(
        self, work: Callable[[AsyncConnection[Any]], Awaitable[Result]], /
    ) -> Result:
        """See `merganser.runtime.postgres.Database.transact`."""


@asynccontextmanager
async def open_transactions(settings: Settings, name: str) -> AsyncIterator[Transact]:
    """Check the database, then yield a function that runs transactions and retries them.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached, or refuses the connection.
        SchemaError: the tables are not those of this version.
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
