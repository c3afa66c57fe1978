"""Authorization: each route requires an API key with one permission."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request

from merganser.http import authentication
from merganser.http.authentication import ApiKeys, Permission

SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The key as Bearer token."},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as user, no password."},
    "apiKey": {"type": "apiKey", "in": "query", "name": "apiKey", "description": "In the URL."},
}
"""OpenAPI's security schemes: where a request may carry its key."""

SECURITY: dict[str, Any] = {"security": [{name: []} for name in SCHEMES]}
"""A route's security in the OpenAPI document: any one of the schemes."""


def require_permission(
    keys: ApiKeys, permission: Permission
) -> Callable[[Request], Awaitable[None]]:
    """Return a FastAPI dependency that sets `request.state.key` to the request's key.

    The dependency raises `HttpError` unless that key has the permission.
    """

    async def authorize(request: Request) -> None:
        authorization = request.headers.get("authorization", "").encode("latin-1")
        secret = authentication.key_from_header(authorization) or request.query_params.get("apiKey")
        request.state.key = await keys.authorize(secret, permission)

    return authorize
