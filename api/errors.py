"""Every exception as an HTTP response: the one place that maps errors to responses."""

import traceback

import psycopg
import structlog
from fastapi.exceptions import RequestValidationError
from psycopg.errors import LockNotAvailable, QueryCanceled
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.responses import json_response
from merganser.http.errors import ErrorKind, HttpError, internal_error
from merganser.runtime.postgres import describe, is_retryable

log = structlog.get_logger(__name__)


def error_response(error: Exception) -> Response:
    """Return the response to an exception; log it if it is a bug."""
    refused = _as_refused(error)
    response = json_response(refused.body(), refused.kind.status)
    response.raw_headers.extend(refused.headers)
    return response


def _as_refused(error: Exception) -> HttpError:
    match error:
        case HttpError():
            return error
        case RequestValidationError():
            return _invalid_parameters(error)
        case HTTPException():
            return _no_route(error)
        case psycopg.Error():
            return _database_error(error)
        case _:
            return _bug(error)


def _invalid_parameters(error: RequestValidationError) -> HttpError:
    fields = {_parameter(problem["loc"]): _message(problem) for problem in error.errors()}
    listed = "; ".join(f"{name}: {message}" for name, message in fields.items())
    return HttpError(ErrorKind.INVALID, listed, fields)


def _no_route(error: HTTPException) -> HttpError:
    allow = (error.headers or {}).get("Allow")
    if allow is None:
        return HttpError(ErrorKind.NOT_FOUND, "no such path: /docs lists all paths")
    text = f"this path takes {allow}: send one of these"
    return HttpError(ErrorKind.METHOD_NOT_ALLOWED, text, headers=[(b"allow", allow.encode())])


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


def _parameter(location: tuple[int | str, ...]) -> str:
    """Return `limit` for ("query", "limit")."""
    return str(location[1] if len(location) > 1 else location[-1])


def _message(problem: dict[str, str]) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown parameter: /docs lists those of this path"
    return problem["msg"].removeprefix("Value error, ")
