"""Which processes are connected to Postgres, and their versions."""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from merganser.runtime import sql

_SQL = sql.load(__package__, "processes.sql")


class ConnectedProcess(NamedTuple):
    """Processes of one kind and version on one host, or a command that runs."""

    name: str
    """Such as `resolver`."""
    version: str | None
    """None: a version that does not say which it is."""
    address: str | None
    """None: a Unix socket, or the role of this process must not see it."""
    connections: int
    since: datetime | None
    """When the oldest connection was opened."""


async def read_processes(connection: AsyncConnection[Any]) -> list[ConnectedProcess]:
    """Return the processes with a connection to this database, by name."""
    cursor = await connection.execute(_SQL["read_processes"], {})
    return [ConnectedProcess(*row) for row in await cursor.fetchall()]
