"""What differs between kinds of databases: connecting, read-only transactions, bounded queries.

A row arrives as a whole, and a value of a gigabyte takes several times as much memory. So for
Postgres and SQLite the query is wrapped in one that leaves out such values and says so. Of other
databases such a row takes the memory that its driver needs.
"""

import math
import re
import sqlite3
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    QueuePool,
    bindparam,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import OperationalError

from decoration.errors import DataRefused, is_sqlite_statement_error
from decoration.values import MAX_CELL_BYTES, Marker, RawArray, RawJson
from merganser.rulebook.language import Query, Source

MAX_BYTES = 32 * 2**20
"""Bytes of the rows that a source sends at once, and of one value of SQLite."""
MAX_CHUNK_ROWS = 100
"""Rows that a source sends at once."""

Chunks = Generator[Sequence[Sequence[Any]], None, None]
"""The rows of an answer, some at a time."""

_SQLITE_STEPS = 10_000
"""SQLite instructions between two looks at the clock: well under a millisecond."""
_PARTIAL_TYPES = ("date", "time", "timetz", "timestamp", "timestamptz")
"""Postgres types with values that Python lacks, such as `infinity` and the year 10000."""
_PARENTHESES = re.compile(r"\(\s*:userIds\s*\)")
_IS_LONG = {
    # The stored size is known without reading the value; `format` accepts any type.
    "postgresql": "pg_column_size({0}) > {1} OR octet_length(format('%s', {0})) > {1}",
    "sqlite": "length(CAST({0} AS BLOB)) > {1}",
}
"""SQL that tests whether a column has more than a number of bytes, by dialect."""
_MATERIALIZED = {"postgresql": "MATERIALIZED", "sqlite": ""}
"""Without it Postgres may compute a column each time that it is named."""


def create_source_engine(url: URL, source: Source) -> Engine:
    """Return a pool of as many connections as the source allows. It does not connect yet."""
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        if "+" not in url.drivername:  # else the company has chosen the driver
            url = url.set(drivername="postgresql+psycopg")
        if url.get_driver_name() == "psycopg":
            options = {
                "connect_timeout": max(2, math.ceil(source.timeout)),
                "application_name": "merganser decoration",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
                "prepare_threshold": None,  # a pooler in between would not know the statement
            }
    elif url.get_backend_name() == "sqlite":
        options = {"timeout": source.timeout}
        if url.database and not url.database.startswith((":", "file:")):
            # Read-only, as SQLite would create a missing file.
            url = url.set(database=f"file:{quote(url.database)}")
            url = url.update_query_dict({"mode": "ro", "uri": "true"})
    engine = create_engine(
        url,
        connect_args=options,
        poolclass=QueuePool,
        pool_size=source.pool,
        max_overflow=0,
        pool_timeout=source.timeout,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, "connect", lambda connection, _: _prepare_connection(connection))
    return engine


def begin_read_only(connection: Connection, seconds: float) -> None:
    """Begin a read-only transaction whose statements fail after so many seconds.

    If a database has no such transaction, it is at least never committed, and the caller stops
    waiting after that time.
    """
    match connection.dialect.name:
        case "postgresql":
            # All rows are read, so the plan need not be fast for the first ones.
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
                raw.set_progress_handler(lambda: time.monotonic() > end, _SQLITE_STEPS)


def execute_query(
    connection: Connection, query: Query, user_ids: Sequence[str]
) -> tuple[tuple[str, ...], Chunks]:
    """Run a rule's query for users.

    Returns:
        The names of its columns, and its rows in chunks.

    Raises:
        SQLAlchemyError: the query cannot be run.
    """
    ids = {"userIds": list(user_ids)}
    dialect = connection.dialect.name
    if dialect not in _IS_LONG:
        result = _execute(connection, query, query.sql, ids)
        columns = tuple(result.keys())
        return columns, _fetch_chunks(result, len(columns))
    sql = query.sql.rstrip("; \n")
    no_rows = f"SELECT * FROM (\n{sql}\n) AS answer LIMIT 0"  # noqa: S608 - the company's own SQL
    with _execute(connection, query, no_rows, ids, stream=False) as result:
        columns = tuple(result.keys())
    wrapped = _omit_long_values(sql, len(columns), dialect)
    return columns, _execute_wrapped(connection, query, wrapped, len(columns), ids)


def _omit_long_values(sql: str, columns: int, dialect: str) -> str:
    """Return SQL with two columns for each of the query: the value, and whether it is omitted."""
    names = [f'"{number}"' for number in range(columns)]
    tests = [_IS_LONG[dialect].format(name, MAX_CELL_BYTES) for name in names]
    selected = ", ".join(
        f"CASE WHEN {test} THEN NULL ELSE {name} END, {test}"
        for name, test in zip(names, tests, strict=True)
    )
    return (
        f'WITH "merganser answer" ({", ".join(names)}) AS {_MATERIALIZED[dialect]} (\n{sql}\n)\n'
        f'SELECT {selected} FROM "merganser answer"'
    )


def _execute_wrapped(
    connection: Connection, query: Query, sql: str, columns: int, ids: Mapping[str, Any]
) -> Chunks:
    try:
        with _execute(connection, query, sql, ids) as result:
            for rows in _fetch_chunks(result, columns):
                yield [_without_flags(row) for row in rows]
    except OperationalError as error:
        if error.orig and is_sqlite_statement_error(error.orig):
            # The query itself is valid, as its columns are known: a value makes it fail.
            raise DataRefused(type(error.orig).__name__) from None
        raise


def _without_flags(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        Marker.OMITTED if is_long else value
        for value, is_long in zip(row[::2], row[1::2], strict=True)
    )


def _fetch_chunks(result: CursorResult[Any], columns: int) -> Chunks:
    size = min(max(MAX_BYTES // (MAX_CELL_BYTES * columns), 1), MAX_CHUNK_ROWS)
    while rows := result.fetchmany(size):
        yield rows


def _execute(
    connection: Connection, query: Query, sql: str, ids: Mapping[str, Any], *, stream: bool = True
) -> CursorResult[Any]:
    """Run SQL with the query's `:userIds`; the rows of a stream stay at the server until fetched.

    psycopg sends a list of texts without a type, so Postgres uses that of the column: the same
    `= ANY(:userIds)` works for texts, numbers and UUIDs, and uses an index on the column.
    """
    statement = text(sql)
    if query.uses_in_list:
        bare = _PARENTHESES.sub(":userIds", sql)  # SQLAlchemy adds the parentheses
        statement = text(bare).bindparams(bindparam("userIds", expanding=True))
    options = {"stream_results": stream, "max_row_buffer": MAX_CHUNK_ROWS}
    return connection.execute(statement, ids, execution_options=options)


def _prepare_connection(connection: Any) -> None:
    """Configure a new connection of a driver, so that no value makes its row unreadable."""
    if isinstance(connection, psycopg.Connection):
        _register_loaders(connection)
    elif isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")


def _register_loaders(connection: psycopg.Connection[Any]) -> None:
    """Load JSON and arrays unparsed, and values that Python lacks as text."""
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, _JsonLoader)
    connection.adapters.register_loader("interval", _TextLoader)
    for name in _PARTIAL_TYPES:
        type_ = connection.adapters.types[name]
        loader = connection.adapters.get_loader(type_.oid, Format.TEXT)
        if loader:
            connection.adapters.register_loader(name, _with_text_fallback(loader))
    for type_ in connection.adapters.types:
        loader = connection.adapters.get_loader(type_.array_oid, Format.TEXT)
        if type_.array_oid and loader:
            connection.adapters.register_loader(type_.array_oid, _deferred_array(loader))


class _TextLoader(Loader):
    """Loads an interval as text, as Python has no value for a month."""

    def load(self, data: Buffer) -> str:
        return _decode(data)


class _JsonLoader(Loader):
    """Loads JSON unparsed: parsing may fail, and would round numbers."""

    def load(self, data: Buffer) -> RawJson:
        return RawJson(_decode(data))


def _deferred_array(loader: Any) -> type[Loader]:
    class ArrayLoader(Loader):
        """Loads an array unparsed."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._parse = loader(oid, context).load

        def load(self, data: Buffer) -> RawArray:
            return RawArray(bytes(data), self._parse)

    return ArrayLoader


def _with_text_fallback(loader: Any) -> type[Loader]:
    class FallbackLoader(Loader):
        """Loads what the other loader rejects as the text that Postgres wrote."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = loader(oid, context).load

        def load(self, data: Buffer) -> Any:
            try:
                return self._load(data)
            except psycopg.DataError:
                return _decode(data)

    return FallbackLoader


def _decode(data: Buffer) -> str:
    return bytes(data).decode(errors="surrogateescape")
