"""The ways in which asking a source fails, and what may be said of them.

What is said goes to logs, tables and terminals, so it has no password, no userId and no value:
messages about data are left out, as servers quote the data in them.
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

LONGEST = 300
"""Characters of a message."""
_OF_DATA = ("21", "22", "23", "54", "P0", "XX")
"""Classes of SQLSTATEs that one user's data may cause: several rows where one is expected, data,
constraints, a size beyond a limit, what functions raise, internal errors such as a broken page."""
_TOO_LARGE = "a value is too large to be read"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Outage(Exception):
    """The source does not answer, or not in time: nobody else should be asked about now."""


class Refused(Exception):
    """The source answers, but not to this query."""


class RefusedData(Refused):
    """One of the ids may be why: another id may be answered."""


class Unreadable(RefusedData):
    """The source answers, and what it says of one of the ids cannot be read."""


class TooLarge(Unreadable):
    """The answer is beyond the bounds of `bounds.py`."""


def fault(error: Exception, url: URL) -> Outage | Refused:
    """What an error of SQLAlchemy or of a driver means."""
    meaning = _meaning(error)
    return meaning(_TOO_LARGE if meaning is TooLarge else describe(error, url))


def _meaning(error: Exception) -> type[Outage | Refused]:
    match error:
        case DBAPIError() if kind := _of_one_user(error):
            return kind
        case NoConnectionFree() | OSError() | DBAPIError(connection_invalidated=True):
            return Outage
        case OperationalError() | InterfaceError() if not is_sqlite_mistake(error.orig):
            return Outage
    return Refused


def _of_one_user(error: DBAPIError) -> type[RefusedData] | None:
    """What it means if what one user's id leads to may be why."""
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG:
        return TooLarge
    if error.orig and _quotes_data(error.orig):
        return RefusedData
    match error:
        case IntegrityError():
            return RefusedData
        case DataError():  # without a state it is the driver that says so, not the server
            return RefusedData if error.orig and _state(error.orig) else Unreadable
    return None


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
    return storable(redacted(said.strip().partition("\n")[0], url))[:LONGEST]


def redacted(said: str, url: URL) -> str:
    """The same without the password of the URL."""
    return said.replace(str(url.password), "***") if url.password else said


def storable(said: str) -> str:
    """The same without what Postgres cannot store."""
    return _UNSTORABLE.sub("?", said)


def _state(error: BaseException) -> list[str]:
    return [state] if (state := getattr(error, "sqlstate", None)) else []


def _quotes_data(error: BaseException) -> bool:
    return any(state.startswith(_OF_DATA) for state in _state(error))


def is_sqlite_mistake(error: BaseException | None) -> bool:
    """SQLite reports a missing table as it reports a lost disk; only the code tells them apart."""
    return (
        isinstance(error, sqlite3.Error)
        and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    )
