"""The read API as an ASGI application: its routes and its documentation pages."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from api import event_routes, profile_routes
from api.access import SCHEMES
from api.errors import error_response
from api.middleware import ResponseMiddleware
from api.responses import json_response
from api.routing import Routes
from merganser.http import docs_page
from merganser.http.asgi import App
from merganser.http.authentication import ApiKeys
from merganser.http.static_files import StaticFile
from merganser.queries.pool import Pool

_TEXT = """Events and profiles, for programs. Every route needs an API key: `Authorization: Bearer \
KEY`, or the key as user of Basic authentication, or `?apiKey=KEY`.

A page has a `nextCursor`: send it as `cursor`, with the same filters, until it is null. Responses \
to GET have an ETag: send it as If-None-Match to get 304 without a body if nothing has changed.

Times are ISO 8601 in UTC."""


def create_app(pool: Pool, keys: ApiKeys, scan: int, nobody_ids: frozenset[str]) -> App:
    """Return the read API.

    Args:
        pool: of connections to Postgres.
        keys: the API keys in force.
        scan: the most events that a page reads to find those that match its filters.
        nobody_ids: ids that mean nobody, as `schemas.ids.folded` returns them.
    """
    app = FastAPI(openapi_url=None)
    routes = Routes(app, keys)
    event_routes.add(routes, pool, scan, nobody_ids)
    profile_routes.add(routes, pool, scan)
    documented = list(app.routes)

    async def handle_error(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            error.headers = {"Allow": ", ".join(_allowed_methods(app, request))}
        return error_response(error)

    app.add_exception_handler(HTTPException, handle_error)
    app.add_exception_handler(RequestValidationError, handle_error)

    @cache  # not at the start, as it takes longer than all the rest
    def describe_routes() -> dict[str, Any]:
        return _openapi_document(documented)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return json_response(describe_routes())

    for path, file in docs_page.FILES.items():
        app.get(path)(_file_route(file))
    return ResponseMiddleware(app)


def _openapi_document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    document = get_openapi(title="Merganser", version="1", description=_TEXT, routes=routes)
    document["components"]["securitySchemes"] = SCHEMES
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


def _file_route(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def send_file(request: Request) -> Response:
        content, headers = file.encode(request.headers.get("accept-encoding", "").encode())
        response = Response(content, media_type=file.media_type.decode())
        response.raw_headers.extend(headers)
        return response

    return send_file


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods of the request's path, which has one route for each; GET allows HEAD."""
    methods = {
        method
        for route in app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
