"""Errors of Postgres, and bugs, as HTTP errors."""

import traceback

import psycopg
import structlog
from psycopg.errors import LockNotAvailable, QueryCanceled

from merganser.http.errors import ErrorKind, HttpError, internal_error
from merganser.runtime.postgres import describe, is_retryable

log = structlog.get_logger(__name__)


def unexpected_error(error: Exception) -> HttpError:
    """Return the HTTP error for an exception that no route expects; log it if it is a bug."""
    return _database_error(error) if isinstance(error, psycopg.Error) else _bug(error)


def _database_error(error: psycopg.Error) -> HttpError:
    match error:
        case QueryCanceled():
            return HttpError(
                ErrorKind.TOO_SLOW, "this took too long: narrow the range or the filters"
            )
        case LockNotAvailable():
            return HttpError(ErrorKind.UNAVAILABLE, "another writer has locked this row: try again")
        case _ if is_retryable(error):
            log.warning("Postgres does not answer", error=describe(error))
            return HttpError(ErrorKind.UNAVAILABLE, "the database does not answer: try again")
        case _:
            return _bug(error)


def _bug(error: Exception) -> HttpError:
    # The message of a database error may quote rows.
    where = traceback.format_tb(error.__traceback__)[-3:]
    log.error("a request failed because of a bug", error=describe(error), where=where)
    return internal_error()
