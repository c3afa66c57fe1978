"""The operators' port of each process: /metrics, /healthz (alive) and /readyz (can work) (§8)."""

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from runtime import metrics

Check = Callable[[], str | None]
"""None when all is well, else why not."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Server(uvicorn.Server):
    """uvicorn inside a process that handles its own signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `runtime.lifecycle`."""
        yield


def server(app: App, host: str, port: int, **options: Any) -> Server:
    """An HTTP server to be run with `serve()` and ended with `should_exit`."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            **options,
        )
    )


def ops_server(
    host: str, port: int, registry: CollectorRegistry, checks: Mapping[str, Check]
) -> Server:
    """The operators' server; ready when every check returns None."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/metrics":
                for name, check in checks.items():
                    metrics.CHECK_FAILING.labels(name).set(check() is not None)
                status, kind, body = 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            case "/healthz":
                status, kind, body = 200, "application/json", b'{"alive":true}'
            case "/readyz":
                reasons = {name: why for name, check in checks.items() if (why := check())}
                status, kind = (503 if reasons else 200), "application/json"
                body = json.dumps({"ready": not reasons, "reasons": reasons}).encode()
            case _:
                status, kind, body = 404, "text/plain", b"try /metrics, /healthz or /readyz\n"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return server(app, host, port)
