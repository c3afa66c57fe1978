"""What goes wrong, as one of the refusals: the one place for it."""

import traceback

import psycopg
import structlog
from fastapi.exceptions import RequestValidationError
from psycopg.errors import LockNotAvailable, QueryCanceled
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.responses import json
from merganser.http.errors import ErrorKind, HttpError, internal_error
from merganser.runtime.postgres import describe, is_retryable

log = structlog.get_logger(__name__)


def refusal(error: Exception) -> HttpError:
    """The refusal that answers an exception; what is a defect of ours goes to the log."""
    match error:
        case HttpError():
            return error
        case RequestValidationError():
            return _unfit(error)
        case HTTPException():
            return _unrouted(error)
        case psycopg.Error():
            return _database(error)
        case _:
            return _defect(error)


def answered(error: Exception) -> Response:
    """The answer to an exception."""
    refused = refusal(error)
    answer = json(refused.body(), refused.kind.status)
    answer.raw_headers.extend(refused.headers)
    return answer


def _unfit(error: RequestValidationError) -> HttpError:
    fields = {_name(problem["loc"]): _said(problem) for problem in error.errors()}
    listed = "; ".join(f"{name}: {said}" for name, said in fields.items())
    return HttpError(ErrorKind.INVALID, listed, fields)


def _unrouted(error: HTTPException) -> HttpError:
    allow = (error.headers or {}).get("Allow")
    if allow is None:
        return HttpError(ErrorKind.NOT_FOUND, "no such path: /docs lists those there are")
    text = f"this path takes {allow}: send one of these"
    return HttpError(ErrorKind.METHOD_NOT_ALLOWED, text, headers=[(b"allow", allow.encode())])


def _database(error: psycopg.Error) -> HttpError:
    match error:
        case QueryCanceled():
            return HttpError(
                ErrorKind.TOO_SLOW, "this took too long: narrow the range or the filters"
            )
        case LockNotAvailable():
            return HttpError(ErrorKind.UNAVAILABLE, "another writer has it in hand: try again")
        case _ if is_retryable(error):
            log.warning("Postgres does not answer", error=describe(error))
            return HttpError(ErrorKind.UNAVAILABLE, "the database does not answer: try again")
        case _:
            return _defect(error)


def _defect(error: Exception) -> HttpError:
    # The text of a database's error may quote rows.
    where = traceback.format_tb(error.__traceback__)[-3:]
    log.error("a defect of ours, in a request", error=describe(error), where=where)
    return internal_error()


def _name(where: tuple[int | str, ...]) -> str:
    """`limit` of ("query", "limit")."""
    return str(where[1] if len(where) > 1 else where[-1])


def _said(problem: dict[str, str]) -> str:
    if problem["type"] == "extra_forbidden":
        return "no such parameter here: /docs lists those there are"
    return problem["msg"].removeprefix("Value error, ")
