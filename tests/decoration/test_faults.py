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
    LONGEST,
    Outage,
    Refused,
    RefusedData,
    TooLarge,
    Unreadable,
    fault,
    storable,
)

URL = make_url("postgresql://me:s3cret@db/crm")


def of_sqlite(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("said so")
    error.sqlite_errorcode = code
    return error


# The error -> what it means.
MEANINGS: dict[str, tuple[Exception, type[Exception]]] = {
    "the server is away": (OperationalError("q", {}, Exception("gone")), Outage),
    "the driver is confused": (InterfaceError("q", {}, Exception("gone")), Outage),
    "a connection was lost in the query": (
        ProgrammingError("q", {}, Exception("gone"), connection_invalidated=True),
        Outage,
    ),
    "all connections are taken": (NoConnectionFree(), Outage),
    "a socket": (ConnectionResetError(), Outage),
    "SQLite: the disk": (OperationalError("q", {}, of_sqlite(sqlite3.SQLITE_IOERR)), Outage),
    "SQLite: no such table": (OperationalError("q", {}, of_sqlite(sqlite3.SQLITE_ERROR)), Refused),
    "the query": (ProgrammingError("q", {}, Exception("no such table")), Refused),
    "an id": (DataError("q", {}, psycopg.errors.InvalidTextRepresentation("abc")), RefusedData),
    "a function": (ProgrammingError("q", {}, psycopg.errors.RaiseException("no")), RefusedData),
    "several rows in a subquery": (
        ProgrammingError("q", {}, psycopg.errors.CardinalityViolation("no")),
        RefusedData,
    ),
    "a text of more than a gigabyte": (
        OperationalError("q", {}, psycopg.errors.ProgramLimitExceeded("no")),
        RefusedData,
    ),
    "a broken page": (InternalError("q", {}, psycopg.errors.DataCorrupted("no")), RefusedData),
    "a write": (InternalError("q", {}, psycopg.errors.ReadOnlySqlTransaction("no")), Refused),
    "a value that the driver has none for": (
        DataError("q", {}, psycopg.DataError("no")),
        Unreadable,
    ),
    "SQLite: a large value": (
        DataError("q", {}, of_sqlite(sqlite3.SQLITE_TOOBIG, sqlite3.DataError)),
        TooLarge,
    ),
    "a driver's defect": (UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), Refused),
}


@pytest.mark.parametrize(("error", "meaning"), MEANINGS.values(), ids=list(MEANINGS))
def test_what_it_means(error: Exception, meaning: type[Exception]) -> None:
    assert type(fault(error, URL)) is meaning


def test_nothing_is_told_that_should_not_be() -> None:
    """Neither the password nor the query with its ids, nor what comes after the first line."""
    error = OperationalError("SELECT 1", {"userIds": ["ann"]}, Exception("me:s3cret@db\nann"))
    assert str(fault(error, URL)) == "me:***@db"
    data = DataError("SELECT 1", {}, ValueError('invalid: "ann"'))
    assert str(fault(data, URL)) == "ValueError"
    raised = ProgrammingError("q", {}, psycopg.errors.RaiseException("ann is not paying"))
    assert str(fault(raised, URL)) == "RaiseException P0001"
    assert str(fault(ValueError("ann"), URL)) == "ValueError"
    assert len(str(fault(OSError("x" * 1000), URL))) == LONGEST


def test_what_postgres_cannot_store_is_not_said() -> None:
    assert storable("no column a\0b\ud800") == "no column a?b?"
