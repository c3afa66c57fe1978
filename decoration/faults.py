"""The ways in which asking a source fails, and what may be said of them.

What is said goes to logs, tables and terminals, so it has no password, no userId and no value:
messages about data are left out, as servers quote the data in them.
"""

import sqlite3

from sqlalchemy import URL
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

LONGEST = 300
"""Characters of a message."""
_OF_DATA = ("22", "23", "P0")
"""Classes of SQLSTATEs: data, constraints, and what functions raise."""


class Outage(Exception):
    """The source does not answer, or not in time: nobody else should be asked about now."""


class Refused(Exception):
    """The source answers, but not to this query."""


class RefusedData(Refused):
    """One of the ids may be why: another id may be answered."""


def fault(error: Exception, url: URL) -> Outage | Refused:
    """What an error of SQLAlchemy or of a driver means."""
    said = describe(error, url)
    match error:
        case DataError() | IntegrityError():
            return RefusedData(said)
        case NoConnectionFree() | OSError():
            return Outage(said)
        case DBAPIError(connection_invalidated=True):
            return Outage(said)
        case OperationalError() | InterfaceError() if not _is_sqlite_mistake(error.orig):
            return Outage(said)
    return Refused(said)


def describe(error: Exception, url: URL) -> str:
    """What an error may say."""
    match error:
        case NoConnectionFree():
            return "no connection is free: the queries before are slow"
        case StatementError() if error.orig:
            if isinstance(error, DataError | IntegrityError) or _quotes_data(error.orig):
                return " ".join([type(error.orig).__name__, *_state(error.orig)])
            said = str(error.orig)
        case SQLAlchemyError() | OSError():
            said = f"{type(error).__name__}: {error}"
        case _:
            return type(error).__name__
    # Postgres shows the part of the query under the first line.
    return redacted(said.strip().partition("\n")[0], url)[:LONGEST]


def redacted(said: str, url: URL) -> str:
    """The same without the password of the URL."""
    return said.replace(str(url.password), "***") if url.password else said


def _state(error: BaseException) -> list[str]:
    return [state] if (state := getattr(error, "sqlstate", None)) else []


def _quotes_data(error: BaseException) -> bool:
    return any(state.startswith(_OF_DATA) for state in _state(error))


def _is_sqlite_mistake(error: BaseException | None) -> bool:
    """SQLite reports a missing table as it reports a lost disk; only the code tells them apart."""
    return (
        isinstance(error, sqlite3.Error)
        and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    )
