"""The operators' port of a process: /metrics, /healthz (alive?) and /readyz (can it work?)."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from merganser.http.asgi import Receive, Scope, Send, send_response
from merganser.http.server import Server, create_server
from merganser.runtime import metrics

Check = Callable[[], str | None]
"""Returns None if all is well, else the reason why not."""

NO_CHECKS: Mapping[str, Check] = MappingProxyType({})


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
        match scope["path"]:
            case "/metrics":
                for name, check in {**checks, **warnings}.items():
                    metrics.CHECK_FAILING.labels(name).set(check() is not None)
                status, content_type, content = 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            case "/healthz":
                status, content_type, content = 200, "application/json", b'{"alive":true}'
            case "/readyz":
                reasons, warned = _reasons(checks), _reasons(warnings)
                readiness = {"ready": not reasons, "reasons": reasons, "warnings": warned}
                status, content_type = 503 if reasons else 200, "application/json"
                content = json.dumps(readiness).encode()
            case _:
                status, content_type = 404, "text/plain"
                content = b"try /metrics, /healthz or /readyz\n"
        headers = [(b"content-type", content_type.encode())]
        await send_response(send, status, headers, content)

    return create_server(app, host, port)


def _reasons(checks: Mapping[str, Check]) -> dict[str, str]:
    return {name: reason for name, check in checks.items() if (reason := check())}
