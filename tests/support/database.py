"""A database for each test: a clone of a migrated template, dropped afterwards."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from schemas import migrations


@dataclass(frozen=True)
class Cluster:
    """A Postgres server on which tests create and drop databases."""

    url: str

    @contextmanager
    def database(self, template: str = "template0", locale: str | None = None) -> Iterator[str]:
        """Create a database, yield its name and drop it, even while clients are connected.

        Args:
            template: the database to copy.
            locale: one of the operating system, only for a copy of `template0`. By default, the
                template's.

        Raises:
            psycopg.errors.WrongObjectType: the server's operating system lacks this locale.
        """
        name = f"merganser_test_{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as admin:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
            if admin.info.server_version >= 150000:
                # The default strategy writes everything to the WAL: that takes five times as long.
                create += sql.SQL(" STRATEGY FILE_COPY")
                if locale:
                    create += sql.SQL(" LOCALE_PROVIDER libc")
            if locale:
                create += sql.SQL(" LOCALE {}").format(sql.Literal(locale))
            admin.execute(create)
        try:
            yield name
        finally:
            with psycopg.connect(self.url, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def url_of(self, name: str) -> str:
        """Return the URL of a database on this server."""
        return make_conninfo(self.url, dbname=name)

    @contextmanager
    def template(self) -> Iterator[str]:
        """Create a migrated database to clone and yield its name."""
        with self.database() as name:
            asyncio.run(migrations.migrate(self.url_of(name)))
            yield name


class Database:
    """The database of one test: its URL, and a connection for the test's own queries."""

    def __init__(self, url: str, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self.url = url
        self.connection = connection
        """In autocommit mode."""

    async def rows(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        cursor = await self.connection.execute(query, values or None)
        return await cursor.fetchall()

    async def value(self, query: LiteralString, *values: object) -> Any:
        """Return the only column of the only row of a query."""
        ((value,),) = await self.rows(query, *values)
        return value

    async def column(self, query: LiteralString, *values: object) -> list[Any]:
        """Return the only column of a query."""
        return [value for (value,) in await self.rows(query, *values)]

    async def execute(self, statement: LiteralString, *values: object) -> int:
        """Run a statement and return how many rows it affected."""
        return (await self.connection.execute(statement, values or None)).rowcount

    async def count(self, table: str) -> int:
        """Return how many rows a table has."""
        cursor = await self.connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        )
        ((count,),) = await cursor.fetchall()
        return int(count)

    async def user_of(self, event: str) -> str | None:
        """Return the userId of the profile that an event belongs to."""
        user: str | None = await self.value(
            'SELECT profiles."userId" FROM events JOIN profiles ON profiles.guid = "profileGuid" '
            "WHERE events.guid = %s",
            event,
        )
        return user

    async def unresolved(self) -> int:
        """Return how many events have no profile yet."""
        return int(await self.value('SELECT count(*) FROM events WHERE "profileGuid" IS NULL'))

    async def lock_waits(self) -> int:
        """Return how many connections to this database wait for a lock."""
        return int(
            await self.value(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    async def grouping(self) -> set[frozenset[str]]:
        """Return the types of each profile's events, which shows the grouping without guids."""
        groups = await self.column(
            'SELECT array_agg(type) FROM events WHERE "profileGuid" IS NOT NULL '
            'GROUP BY "profileGuid"'
        )
        return {frozenset(group) for group in groups}

    async def profile_of(self, user_id: str) -> str:
        """Return the guid of the profile of a user."""
        return str(await self.value('SELECT guid FROM profiles WHERE "userId" = %s', user_id))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Connect to a database for the length of an `async with` block."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield Database(url, connection)
