"""The operators' port of a process: /metrics, /healthz (alive?) and /readyz (can it work?)."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from merganser.http.asgi import Receive, Scope, Send, send_response
from merganser.http.server import Server, create_server
from merganser.runtime import metrics

Check = Callable[[], str | None]
"""Returns None if all is well, else the reason why not."""

NO_CHECKS: Mapping[str, Check] = MappingProxyType({})

Page = tuple[int, str, bytes]
"""Status, content type and content of a response."""

OTHER_PATH: Page = (
    HTTPStatus.NOT_FOUND,
    "text/plain",
    b"try /metrics, /healthz or /readyz\n",
)


def create_ops_server(
    host: str,
    port: int,
    registry: CollectorRegistry,
    checks: Mapping[str, Check],
    warnings: Mapping[str, Check] = NO_CHECKS,
) -> Server:
    """Return the operators' server.

    Args:
        host: to listen on.
        port: to listen on.
        registry: the metrics that /metrics shows.
        checks: by name. /readyz answers 200 if all are well, else 503 with the reasons.
        warnings: by name. /readyz shows their reasons and still answers 200.
    """

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        page: Page
        match scope["path"]:
            case "/metrics":
                for name, check in {**checks, **warnings}.items():
                    metrics.CHECK_FAILING.labels(name).set(check() is not None)
                page = HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)
            case "/healthz":
                page = alive_page()
            case "/readyz":
                page = readiness_page(_reasons(checks), _reasons(warnings))
            case _:
                page = OTHER_PATH
        await send_page(send, page)

    return create_server(app, host, port)


def alive_page() -> Page:
    """Return what /healthz answers."""
    return HTTPStatus.OK, "application/json", b'{"alive":true}'


def readiness_page(reasons: Mapping[str, str], warnings: Mapping[str, str]) -> Page:
    """Return what /readyz answers: ready if there are no reasons against it."""
    readiness = {"ready": not reasons, "reasons": reasons, "warnings": warnings}
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return status, "application/json", json.dumps(readiness).encode()


async def send_page(send: Send, page: Page) -> None:
    """Send a page as the response."""
    status, content_type, content = page
    await send_response(send, status, [(b"content-type", content_type.encode())], content)


def _reasons(checks: Mapping[str, Check]) -> dict[str, str]:
    return {name: reason for name, check in checks.items() if (reason := check())}
