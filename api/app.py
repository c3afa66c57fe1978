"""The read API as one application: the routes, and the pages that describe them."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route

from api import event_routes, profile_routes
from api.access import SCHEMES
from api.database import Pool
from api.errors import answered
from api.middleware import Envelope
from api.responses import json
from api.routing import Routes
from merganser.http import docs_page
from merganser.http.asgi import App
from merganser.http.authentication import ApiKeys

_TEXT = """Events and profiles, for programs. Every route needs an API key: `Authorization: Bearer \
KEY`, or the key as user of Basic authentication, or `?apiKey=KEY`.

Answers that come in pages have a `nextCursor`: send it as `cursor`, with the same filters, until \
it is null. Answers to GET have an ETag: send it as If-None-Match, and what has not changed is \
answered 304 without a body. Times are ISO 8601 in UTC."""

_CSP = {"content-security-policy": docs_page.SECURITY_POLICY}


def create(pool: Pool, keys: ApiKeys, scan: int) -> App:
    """The API.

    Args:
        pool: connections to lend.
        keys: the API keys in force.
        scan: events that a page looks at, at most.
    """
    app = FastAPI(openapi_url=None)
    routes = Routes(app, keys)
    event_routes.add(routes, pool, scan)
    profile_routes.add(routes, pool, scan)
    document = get_openapi(title="Merganser", version="1", description=_TEXT, routes=app.routes)
    document["components"]["securitySchemes"] = SCHEMES
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    page = docs_page.page(document)

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            error.headers = {"Allow": ", ".join(_methods(app, request))}
        return answered(error)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, refused)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return json(document)

    @app.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(page, headers=_CSP)

    return Envelope(app)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What a path takes. It has a route of its own for each method, but HEAD is taken as GET."""
    found = {
        method
        for route in app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return sorted(found | ({"HEAD"} if "GET" in found else set()))
