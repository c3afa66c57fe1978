"""A command's connection to Postgres."""

from runtime.postgres import Connection, connect
from runtime.settings import Settings


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
