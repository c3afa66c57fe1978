"""Every exception as an HTTP response: the one place that maps errors to responses."""

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.responses import json_response
from merganser.http.errors import ErrorKind, HttpError
from merganser.queries.failures import unexpected_error


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
        case _:
            return unexpected_error(error)


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


def _parameter(location: tuple[int | str, ...]) -> str:
    """Return `limit` for ("query", "limit")."""
    return str(location[1] if len(location) > 1 else location[-1])


def _message(problem: dict[str, str]) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown parameter: /docs lists those of this path"
    return problem["msg"].removeprefix("Value error, ")
