"""A bare COPY into the tables: the ceiling of one connection to Postgres."""

import time
from typing import Any

import psycopg

BATCH = 5_000
"""Events per transaction, as in the resolver."""

Rows = tuple[list[bytes], list[bytes]]


def rows(url: str) -> Rows:
    """Return all events and their data in COPY's format, in chunks of `BATCH` events."""
    with psycopg.connect(url) as database:
        return (
            _chunks(database, "COPY events TO STDOUT", BATCH),
            _chunks(database, 'COPY "eventData" TO STDOUT', 4 * BATCH),
        )


def copy(url: str, rows: Rows) -> float:
    """Copy the rows into an empty database, a transaction per chunk; return events per second."""
    count = 0
    with psycopg.connect(url, autocommit=True) as database, database.cursor() as cursor:
        start = time.perf_counter()
        for events, data in zip(*rows, strict=True):
            with database.transaction():
                for statement, chunk in (
                    ("COPY events FROM STDIN", events),
                    ('COPY "eventData" FROM STDIN', data),
                ):
                    with cursor.copy(statement.encode()) as sink:
                        sink.write(chunk)
            count += events.count(b"\n")
        return count / (time.perf_counter() - start)


def _chunks(
    database: psycopg.Connection[tuple[Any, ...]], statement: str, size: int
) -> list[bytes]:
    with database.cursor().copy(statement.encode()) as source:
        lines = b"".join(bytes(block) for block in source).splitlines(keepends=True)
    return [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
