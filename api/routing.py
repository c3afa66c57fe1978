"""What all routes share: a permission, documented errors, and a count of truncated responses."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api import responses
from api.access import SECURITY, require_permission
from merganser.http.authentication import ApiKeys, Permission
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import metrics

_ERRORS = {
    400: "The cursor is not one of this page.",
    401: "The key is missing, unknown or revoked.",
    404: "It does not exist.",
    409: "The event is the reason why an anonymousId belongs to its user.",
    422: "A parameter is invalid; `fields` says which and why.",
    503: "Postgres does not answer, or is too busy: try again after Retry-After seconds. With the "
    "code `timeout`: the query takes too long, narrow it.",
}
_ALWAYS = (401, 422, 503)

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Response]])


class Routes:
    """Adds routes that need an API key to an application."""

    def __init__(self, app: FastAPI, keys: ApiKeys) -> None:
        self._app = app
        self._authorizers = {
            permission: Depends(require_permission(keys, permission)) for permission in Permission
        }

    def get(
        self,
        path: str,
        permission: Permission,
        body: type[responses.Body],
        errors: Sequence[int] = (),
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that makes a function the route of GET.

        Args:
            path: below /api/v1.
            permission: that the key needs.
            body: the model of the response's body.
            errors: statuses besides those of every route.
        """
        return self.route("GET", path, permission, body, errors)

    def route(
        self,
        method: str,
        path: str,
        permission: Permission,
        body: type[responses.Body],
        errors: Sequence[int] = (),
    ) -> Callable[[Handler], Handler]:
        """Return a decorator as `get` does, for any method."""
        descriptions = {status: _ERRORS[status] for status in (*errors, *_ALWAYS)}
        descriptions[403] = f"The key has no permission {permission}."
        documented: dict[int | str, dict[str, Any]] = {200: {"model": body, "description": "OK."}}
        for status, description in sorted(descriptions.items()):
            documented[status] = {"model": responses.Error, "description": description}
        full_path = f"/api/v1{path}"
        add = self._app.api_route(
            full_path,
            methods=[method],
            tags=["events" if path.startswith("/event") else "profiles"],
            dependencies=[self._authorizers[permission], Depends(_reject_repeated_parameters)],
            response_class=Response,
            responses=documented,
            openapi_extra=SECURITY,
        )
        return lambda handler: add(_count_truncated(handler, full_path))


def _count_truncated(handler: Handler, path: str) -> Handler:
    """Wrap a handler to count its truncated responses."""
    truncated = metrics.API_ANSWERS_CUT.labels(path)  # shown as 0 until it counts

    @wraps(handler)
    async def counted(*arguments: Any, **named: Any) -> Response:
        response = await handler(*arguments, **named)
        if isinstance(response, responses.JsonResponse) and response.truncated:
            truncated.inc()
        return response

    return cast("Handler", counted)


async def _reject_repeated_parameters(request: Request) -> None:
    """Refuse a parameter with several values: choosing one of them could mislead the client.

    Raises:
        HttpError: INVALID.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    text = "given more than once: send one"
    if repeated := {name: text for name, count in Counter(names).items() if count > 1}:
        raise HttpError(
            ErrorKind.INVALID, "; ".join(f"{name}: {text}" for name in repeated), repeated
        )
