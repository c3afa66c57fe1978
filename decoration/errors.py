"""How querying a source fails, and which parts of an error message may be shown.

Messages go to logs, tables and terminals, so they never contain a password, a userId or a value.
Messages about data are left out, as servers quote the data in them.
"""

import re
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

MAX_MESSAGE_CHARACTERS = 300
_DATA_SQLSTATES = ("21", "22", "23", "54", "P0", "XX")
"""Classes of SQLSTATEs that one user's data may cause: several rows where one is expected, data,
constraints, program limits, exceptions of functions, internal errors such as a damaged page."""
_QUERY_CANCELED = "57014"
"""SQLSTATE of Postgres when `statement_timeout` has passed."""
_TOO_LARGE = "a value is too large to be read"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class SourceUnavailable(Exception):
    """The source does not answer, or not in time. No further query should be sent now."""


class SourceTimedOut(SourceUnavailable):
    """The source does not answer in time. The rows of one user may be the cause."""


class QueryRefused(Exception):
    """The source answers, but it cannot run this query."""


class DataRefused(QueryRefused):
    """One of the userIds may be the cause. The query may work for the others."""


class AnswerUnreadable(DataRefused):
    """The source answers, but its rows for one of the users cannot be read."""


class AnswerTooLarge(AnswerUnreadable):
    """The answer has more rows or bytes than `source_client.py` accepts."""


def classify_error(error: Exception, url: URL) -> SourceUnavailable | QueryRefused:
    """Return what an error of SQLAlchemy or of a driver means, with a message that may be shown."""
    kind = _classify(error)
    return kind(_TOO_LARGE if kind is AnswerTooLarge else describe_error(error, url))


def describe_error(error: Exception, url: URL) -> str:
    """Return the part of an error's message that may be shown."""
    match error:
        case NoConnectionFree():
            return "no connection is free: earlier queries are slow"
        case StatementError() if error.orig:
            if isinstance(error, DataError | IntegrityError) or _quotes_data(error.orig):
                return " ".join([type(error.orig).__name__, *_sqlstate(error.orig)])
            message = str(error.orig)
        case SQLAlchemyError() | OSError():
            message = f"{type(error).__name__}: {error}"
        case _:
            return type(error).__name__
    # Postgres quotes a part of the query below the first line.
    first_line = message.strip().partition("\n")[0]
    return replace_unstorable(hide_password(first_line, url))[:MAX_MESSAGE_CHARACTERS]


def hide_password(message: str, url: URL) -> str:
    """Return the message without the password of the URL."""
    return message.replace(str(url.password), "***") if url.password else message


def replace_unstorable(message: str) -> str:
    """Return the message without characters that Postgres cannot store."""
    return _UNSTORABLE.sub("?", message)


def is_sqlite_statement_error(error: BaseException | None) -> bool:
    """Return whether SQLite rejects the statement.

    SQLite raises the same exception for a missing table and a lost disk; only the code differs.
    """
    return (
        isinstance(error, sqlite3.Error)
        and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    )


def _classify(error: Exception) -> type[SourceUnavailable | QueryRefused]:
    match error:
        case DBAPIError() if kind := _classify_data_error(error):
            return kind
        case DBAPIError() if error.orig and _QUERY_CANCELED in _sqlstate(error.orig):
            return SourceTimedOut
        case NoConnectionFree() | OSError() | DBAPIError(connection_invalidated=True):
            return SourceUnavailable
        case OperationalError() | InterfaceError() if not is_sqlite_statement_error(error.orig):
            return SourceUnavailable
    return QueryRefused


def _classify_data_error(error: DBAPIError) -> type[DataRefused] | None:
    """Return the kind of an error that one user's data may cause, else None."""
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG:
        return AnswerTooLarge
    if error.orig and _quotes_data(error.orig):
        return DataRefused
    match error:
        case IntegrityError():
            return DataRefused
        case DataError():  # without an SQLSTATE the driver raises it, not the server
            return DataRefused if error.orig and _sqlstate(error.orig) else AnswerUnreadable
    return None


def _sqlstate(error: BaseException) -> list[str]:
    return [state] if (state := getattr(error, "sqlstate", None)) else []


def _quotes_data(error: BaseException) -> bool:
    return any(state.startswith(_DATA_SQLSTATES) for state in _sqlstate(error))
