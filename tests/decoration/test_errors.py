"""How errors of sources are classified, and which text is stored and logged."""

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


def sqlite_error(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("message")
    error.sqlite_errorcode = code
    return error


# Case -> the error and its class.
ERRORS: dict[str, tuple[Exception, type[Exception]]] = {
    "the server is not reachable": (
        OperationalError("q", {}, Exception("gone")),
        SourceUnavailable,
    ),
    "the driver fails": (InterfaceError("q", {}, Exception("gone")), SourceUnavailable),
    "a connection was lost in the query": (
        ProgrammingError("q", {}, Exception("gone"), connection_invalidated=True),
        SourceUnavailable,
    ),
    "no connection is free": (NoConnectionFree(), SourceUnavailable),
    "a socket error": (ConnectionResetError(), SourceUnavailable),
    "SQLite: a disk error": (
        OperationalError("q", {}, sqlite_error(sqlite3.SQLITE_IOERR)),
        SourceUnavailable,
    ),
    "SQLite: no such table": (
        OperationalError("q", {}, sqlite_error(sqlite3.SQLITE_ERROR)),
        QueryRefused,
    ),
    "a wrong query": (ProgrammingError("q", {}, Exception("no such table")), QueryRefused),
    "an invalid id": (
        DataError("q", {}, psycopg.errors.InvalidTextRepresentation("abc")),
        DataRefused,
    ),
    "an error raised by a function": (
        ProgrammingError("q", {}, psycopg.errors.RaiseException("no")),
        DataRefused,
    ),
    "several rows in a subquery": (
        ProgrammingError("q", {}, psycopg.errors.CardinalityViolation("no")),
        DataRefused,
    ),
    "a text of more than a gigabyte": (
        OperationalError("q", {}, psycopg.errors.ProgramLimitExceeded("no")),
        DataRefused,
    ),
    "a broken page": (InternalError("q", {}, psycopg.errors.DataCorrupted("no")), DataRefused),
    "a write in a read-only transaction": (
        InternalError("q", {}, psycopg.errors.ReadOnlySqlTransaction("no")),
        QueryRefused,
    ),
    "a value that the driver cannot represent": (
        DataError("q", {}, psycopg.DataError("no")),
        AnswerUnreadable,
    ),
    "SQLite: a large value": (
        DataError("q", {}, sqlite_error(sqlite3.SQLITE_TOOBIG, sqlite3.DataError)),
        AnswerTooLarge,
    ),
    "a defect of the driver": (UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), QueryRefused),
}


@pytest.mark.parametrize(("error", "expected"), ERRORS.values(), ids=list(ERRORS))
def test_an_error_is_classified(error: Exception, expected: type[Exception]) -> None:
    assert type(classify_error(error, URL)) is expected


def test_messages_have_no_password_query_or_data() -> None:
    """Nor anything after the first line."""
    error = OperationalError("SELECT 1", {"userIds": ["ann"]}, Exception("me:s3cret@db\nann"))
    assert str(classify_error(error, URL)) == "me:***@db"
    data = DataError("SELECT 1", {}, ValueError('invalid: "ann"'))
    assert str(classify_error(data, URL)) == "ValueError"
    raised = ProgrammingError("q", {}, psycopg.errors.RaiseException("ann is not paying"))
    assert str(classify_error(raised, URL)) == "RaiseException P0001"
    assert str(classify_error(ValueError("ann"), URL)) == "ValueError"
    assert len(str(classify_error(OSError("x" * 1000), URL))) == MAX_MESSAGE_CHARACTERS


def test_characters_that_postgres_cannot_store_are_replaced() -> None:
    assert replace_unstorable("no column a\0b\ud800") == "no column a?b?"
