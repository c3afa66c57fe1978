"""What errors mean, and what is said of them."""

import sqlite3

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import (
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from decoration.errors import (
    MAX_MESSAGE_CHARACTERS,
    AnswerTooLarge,
    AnswerUnreadable,
    DataRefused,
    QueryRefused,
    SourceUnavailable,
    classify_error,
    replace_unstorable,
)

URL = make_url("postgresql://me:s3cret@db/crm")


def of_sqlite(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("said so")
    error.sqlite_errorcode = code
    return error


# The error -> what it means.
MEANINGS: dict[str, tuple[Exception, type[Exception]]] = {
    "the server is away": (OperationalError("q", {}, Exception("gone")), SourceUnavailable),
    "the driver is confused": (InterfaceError("q", {}, Exception("gone")), SourceUnavailable),
    "a connection was lost in the query": (
        ProgrammingError("q", {}, Exception("gone"), connection_invalidated=True),
        SourceUnavailable,
    ),
    "all connections are taken": (NoConnectionFree(), SourceUnavailable),
    "a socket": (ConnectionResetError(), SourceUnavailable),
    "SQLite: the disk": (
        OperationalError("q", {}, of_sqlite(sqlite3.SQLITE_IOERR)),
        SourceUnavailable,
    ),
    "SQLite: no such table": (
        OperationalError("q", {}, of_sqlite(sqlite3.SQLITE_ERROR)),
        QueryRefused,
    ),
    "the query": (ProgrammingError("q", {}, Exception("no such table")), QueryRefused),
    "an id": (DataError("q", {}, psycopg.errors.InvalidTextRepresentation("abc")), DataRefused),
    "a function": (ProgrammingError("q", {}, psycopg.errors.RaiseException("no")), DataRefused),
    "several rows in a subquery": (
        ProgrammingError("q", {}, psycopg.errors.CardinalityViolation("no")),
        DataRefused,
    ),
    "a text of more than a gigabyte": (
        OperationalError("q", {}, psycopg.errors.ProgramLimitExceeded("no")),
        DataRefused,
    ),
    "a broken page": (InternalError("q", {}, psycopg.errors.DataCorrupted("no")), DataRefused),
    "a write": (InternalError("q", {}, psycopg.errors.ReadOnlySqlTransaction("no")), QueryRefused),
    "a value that the driver has none for": (
        DataError("q", {}, psycopg.DataError("no")),
        AnswerUnreadable,
    ),
    "SQLite: a large value": (
        DataError("q", {}, of_sqlite(sqlite3.SQLITE_TOOBIG, sqlite3.DataError)),
        AnswerTooLarge,
    ),
    "a driver's defect": (UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), QueryRefused),
}


@pytest.mark.parametrize(("error", "meaning"), MEANINGS.values(), ids=list(MEANINGS))
def test_what_it_means(error: Exception, meaning: type[Exception]) -> None:
    assert type(classify_error(error, URL)) is meaning


def test_nothing_is_told_that_should_not_be() -> None:
    """Neither the password nor the query with its ids, nor what comes after the first line."""
    error = OperationalError("SELECT 1", {"userIds": ["ann"]}, Exception("me:s3cret@db\nann"))
    assert str(classify_error(error, URL)) == "me:***@db"
    data = DataError("SELECT 1", {}, ValueError('invalid: "ann"'))
    assert str(classify_error(data, URL)) == "ValueError"
    raised = ProgrammingError("q", {}, psycopg.errors.RaiseException("ann is not paying"))
    assert str(classify_error(raised, URL)) == "RaiseException P0001"
    assert str(classify_error(ValueError("ann"), URL)) == "ValueError"
    assert len(str(classify_error(OSError("x" * 1000), URL))) == MAX_MESSAGE_CHARACTERS


def test_what_postgres_cannot_store_is_not_said() -> None:
    assert replace_unstorable("no column a\0b\ud800") == "no column a?b?"
