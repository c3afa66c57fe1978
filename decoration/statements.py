"""A rule's query as it is sent: the source is asked not to send values beyond all bounds.

A row comes whole or not at all, and one with a value of a gigabyte takes several times that of the
process. So the query stands in another one that leaves such a value out, and says so. That is done
where it is tested; of other databases such a row costs the memory that its driver takes for it.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, bindparam, text
from sqlalchemy.exc import OperationalError

from decoration import bounds
from decoration.errors import RefusedData, is_sqlite_mistake
from decoration.texts import Cell
from decoration.values import LONGEST_CELL
from merganser.rulebook.language import Query

Chunks = Generator[Sequence[Sequence[Any]], None, None]
"""The rows of an answer, some at a time."""

_PARENTHESES = re.compile(r"\(\s*:userIds\s*\)")
_IS_LONG = {
    # The size as it is stored is known without reading the value; `format` takes any type.
    "postgresql": "pg_column_size({0}) > {1} OR octet_length(format('%s', {0})) > {1}",
    "sqlite": "length(CAST({0} AS BLOB)) > {1}",
}
"""Whether a column is longer than so many bytes, by dialect."""
_ONCE = {"postgresql": "MATERIALIZED", "sqlite": ""}
"""Without it Postgres may compute the query's columns each time that they are named."""


def ask(
    connection: Connection, query: Query, user_ids: Sequence[str]
) -> tuple[tuple[str, ...], Chunks]:
    """Run a query for users: the names of its columns, and its rows in chunks.

    Raises:
        SQLAlchemyError: the query cannot be run.
    """
    ids = {"userIds": list(user_ids)}
    dialect = connection.dialect.name
    if dialect not in _IS_LONG:
        result = _run(connection, query, query.sql, ids)
        columns = tuple(result.keys())
        return columns, _chunks(result, len(columns))
    sql = query.sql.rstrip("; \n")
    no_rows = f"SELECT * FROM (\n{sql}\n) AS answer LIMIT 0"  # noqa: S608 - it is the company's
    with _run(connection, query, no_rows, ids, stream=False) as result:
        columns = tuple(result.keys())
    guarded = _guarded(sql, len(columns), dialect)
    return columns, _bounded(connection, query, guarded, len(columns), ids)


def _guarded(sql: str, columns: int, dialect: str) -> str:
    """The query with two columns for each of its own: the value, and whether it is left out."""
    names = [f'"{number}"' for number in range(columns)]
    tests = [_IS_LONG[dialect].format(name, LONGEST_CELL) for name in names]
    guarded = ", ".join(
        f"CASE WHEN {test} THEN NULL ELSE {name} END, {test}"
        for name, test in zip(names, tests, strict=True)
    )
    return (
        f'WITH "merganser answer" ({", ".join(names)}) AS {_ONCE[dialect]} (\n{sql}\n)\n'
        f'SELECT {guarded} FROM "merganser answer"'
    )


def _bounded(
    connection: Connection, query: Query, sql: str, columns: int, ids: Mapping[str, Any]
) -> Chunks:
    try:
        with _run(connection, query, sql, ids) as result:
            for rows in _chunks(result, columns):
                yield [_without_flags(row) for row in rows]
    except OperationalError as error:
        if error.orig and is_sqlite_mistake(error.orig):
            # The query runs, as its columns are known: a value is what it cannot go on with.
            raise RefusedData(type(error.orig).__name__) from None
        raise


def _without_flags(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        Cell.OMITTED if is_long else value
        for value, is_long in zip(row[::2], row[1::2], strict=True)
    )


def _chunks(result: CursorResult[Any], columns: int) -> Chunks:
    size = bounds.chunk(columns)
    while rows := result.fetchmany(size):
        yield rows


def _run(
    connection: Connection, query: Query, sql: str, ids: Mapping[str, Any], *, stream: bool = True
) -> CursorResult[Any]:
    """Run SQL with the query's `:userIds`; a stream's rows stay where they are until fetched.

    psycopg sends a list of texts without a type. Postgres takes that of the column, so that the
    same `= ANY(:userIds)` is for texts, numbers and uuids, and an index on the column is used.
    """
    statement = text(sql)
    if query.uses_in_list:
        bare = _PARENTHESES.sub(":userIds", sql)  # the list brings its own
        statement = text(bare).bindparams(bindparam("userIds", expanding=True))
    options = {"stream_results": stream, "max_row_buffer": bounds.LONGEST_CHUNK}
    return connection.execute(statement, ids, execution_options=options)
