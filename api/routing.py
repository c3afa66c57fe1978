"""What all routes have in common: a permission, bounded errors, and their place in the document."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from api import responses
from api.access import SECURITY, permitted
from merganser.http.authentication import Keys, Permission
from merganser.http.errors import Problem, Refused
from merganser.runtime import metrics

_ERRORS = {
    400: "The cursor is none of this page.",
    401: "No key, or one that is unknown or revoked.",
    404: "There is no such thing.",
    409: "The event is why an anonymousId belongs to its user.",
    422: "A parameter does not fit; `fields` says which and why.",
    503: "Postgres is away, or too busy: try again after Retry-After seconds. Or, with the code "
    "`timeout`, the question takes too long: narrow it.",
}
_ALWAYS = (401, 422, 503)

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Response]])


class Routes:
    """Routes of an application for holders of keys."""

    def __init__(self, app: FastAPI, keys: Keys) -> None:
        self._app = app
        self._may = {permission: Depends(permitted(keys, permission)) for permission in Permission}

    def get(
        self,
        path: str,
        permission: Permission,
        answer: type[responses.Answer],
        errors: Sequence[int] = (),
    ) -> Callable[[Handler], Handler]:
        """Make a function the route of GET.

        Args:
            path: below /api/v1.
            permission: what the key must have.
            answer: the shape of what the function answers.
            errors: statuses beside those that every route has.
        """
        return self.route("GET", path, permission, answer, errors)

    def route(
        self,
        method: str,
        path: str,
        permission: Permission,
        answer: type[responses.Answer],
        errors: Sequence[int] = (),
    ) -> Callable[[Handler], Handler]:
        """Make a function the route of any method; else as `get`."""
        said = {status: _ERRORS[status] for status in (*errors, *_ALWAYS)}
        said[403] = f"The key has no permission {permission}."
        documented: dict[int | str, dict[str, Any]] = {200: {"model": answer, "description": "OK."}}
        for status, description in sorted(said.items()):
            documented[status] = {"model": responses.Error, "description": description}
        full = f"/api/v1{path}"
        add = self._app.api_route(
            full,
            methods=[method],
            dependencies=[self._may[permission], Depends(_each_once)],
            response_class=Response,
            responses=documented,
            openapi_extra=SECURITY,
        )
        return lambda handler: add(_measured(handler, full))


def _measured(handler: Handler, path: str) -> Handler:
    """The same, counting answers that are cut."""
    cut = metrics.API_ANSWERS_CUT.labels(path)  # from the start, so that its rate is known

    @wraps(handler)
    async def measured(*arguments: Any, **named: Any) -> Response:
        answer = await handler(*arguments, **named)
        if isinstance(answer, responses.Answered) and answer.cut:
            cut.inc()
        return answer

    return cast("Handler", measured)


async def _each_once(request: Request) -> None:
    """Only one value of a parameter counts: to take any of several would answer another question.

    Raises:
        Refused: INVALID.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    text = "given more than once: send one"
    if twice := {name: text for name, count in Counter(names).items() if count > 1}:
        raise Refused(Problem.INVALID, "; ".join(f"{name}: {text}" for name in twice), twice)
