"""Who may do what: a key, and the permission that a route asks for."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request

from merganser.http import authentication
from merganser.http.authentication import ApiKeys, Permission

SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The key as a Bearer."},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as user, no password."},
    "apiKey": {"type": "apiKey", "in": "query", "name": "apiKey", "description": "In the URL."},
}
"""The places of a key, as OpenAPI says it."""

SECURITY: dict[str, Any] = {"security": [{name: []} for name in SCHEMES]}
"""Any one of them, in the OpenAPI document of a route."""


def permitted(known: ApiKeys, permission: Permission) -> Callable[[Request], Awaitable[None]]:
    """What a route depends on: it raises `HttpError` unless the request's key has the permission.

    The key is then `request.state.key`.
    """

    async def check(request: Request) -> None:
        authorization = request.headers.get("authorization", "").encode("latin-1")
        secret = authentication.key_from_header(authorization) or request.query_params.get("apiKey")
        request.state.key = await known.authorize(secret, permission)

    return check
