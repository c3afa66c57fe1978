"""What is done differently for each kind of database: connecting, reading only, and giving up."""

import math
import sqlite3
import time
from typing import Any
from urllib.parse import quote

import psycopg
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event

from decoration import loaders
from decoration.bounds import MOST_BYTES
from merganser.rulebook.language import Source

_STEPS = 10_000
"""Of SQLite's machine between looks at the clock: well under a millisecond."""


def engine(url: URL, source: Source) -> Engine:
    """A pool of connections that is as large as the source allows, and opens none yet."""
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        if "+" not in url.drivername:  # else: the driver that the company has chosen
            url = url.set(drivername="postgresql+psycopg")
        if url.get_driver_name() == "psycopg":
            options = {
                "connect_timeout": max(2, math.ceil(source.timeout)),
                "application_name": "merganser decoration",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
                "prepare_threshold": None,  # a pooler between would not know the statement
            }
    elif url.get_backend_name() == "sqlite":
        options = {"timeout": source.timeout}
        if url.database and not url.database.startswith((":", "file:")):
            # Else a file that is not there would be made.
            url = url.set(database=f"file:{quote(url.database)}")
            url = url.update_query_dict({"mode": "ro", "uri": "true"})
    made = create_engine(
        url,
        connect_args=options,
        poolclass=QueuePool,
        pool_size=source.pool,
        max_overflow=0,
        pool_timeout=source.timeout,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(made, "connect", lambda connection, _: _prepare(connection))
    return made


def restrain(connection: Connection, seconds: float) -> None:
    """Begin a transaction that only reads, and whose statements end after so many seconds.

    Where a database has no such thing the transaction is at least never committed, and the caller
    gives up after that time.
    """
    match connection.dialect.name:
        case "postgresql":
            # Of a cursor all rows are read: its plan need not be good at the first ones.
            connection.exec_driver_sql(
                "SELECT set_config('transaction_read_only', 'on', true), "
                "set_config('cursor_tuple_fraction', '1', true), "
                f"set_config('statement_timeout', '{math.ceil(seconds * 1000)}', true)"
            )
        case "mysql" | "mariadb":
            connection.exec_driver_sql("START TRANSACTION READ ONLY")
        case "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")
            raw, end = connection.connection.driver_connection, time.monotonic() + seconds
            if isinstance(raw, sqlite3.Connection):
                raw.set_progress_handler(lambda: time.monotonic() > end, _STEPS)


def _prepare(connection: Any) -> None:
    """Have a new connection of a driver read what its defaults would raise for, or choke on."""
    if isinstance(connection, psycopg.Connection):
        loaders.register(connection)
    elif isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")
