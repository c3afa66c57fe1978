"""The operators' port of each process: /metrics, /healthz (alive) and /readyz (can work) (§8)."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from merganser.http.server import DEFAULT, Bounds, Connections
from merganser.runtime import metrics

Check = Callable[[], str | None]
"""None when all is well, else why not."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


LEAVE_SECONDS = 1.0
"""For clients to hear that their connections end: what is sent on one just when it is closed gets
no answer, and the client cannot know whether it was read (RFC 9112 §9.5)."""

_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """uvicorn inside a process that handles its own signals and bounds its connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's, ten times a second."""
        self._connections.cut_the_slow(time.monotonic())
        return await super().on_tick(counter)

    async def leave(self) -> None:
        """End without failing a request.

        New clients are refused from the start, which tells them surely that nobody read what they
        send. Those that are connected hear with their next answer that the connection ends.
        """
        for listening in self.servers if self.started else ():
            listening.close()
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        if self.server_state.connections:
            await asyncio.sleep(LEAVE_SECONDS)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `merganser.runtime.lifecycle`."""
        yield


def server(app: App, host: str, port: int, bounds: Bounds = DEFAULT, **options: Any) -> Server:
    """An HTTP server to be run with `serve()` and ended with `should_exit`."""
    connections = Connections(bounds)
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=connections.protocol,  # type: ignore[arg-type] # uvicorn calls it, no more
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            **options,
        ),
        connections,
    )


NO_CHECKS: Mapping[str, Check] = MappingProxyType({})


def ops_server(
    host: str,
    port: int,
    registry: CollectorRegistry,
    checks: Mapping[str, Check],
    warnings: Mapping[str, Check] = NO_CHECKS,
) -> Server:
    """The operators' server.

    Args:
        host: to listen on.
        port: to listen on.
        registry: what /metrics shows.
        checks: the process is ready when each returns None.
        warnings: told in the same way, but the process is ready all the same.
    """

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/metrics":
                for name, check in {**checks, **warnings}.items():
                    metrics.CHECK_FAILING.labels(name).set(check() is not None)
                status, kind, body = 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            case "/healthz":
                status, kind, body = 200, "application/json", b'{"alive":true}'
            case "/readyz":
                reasons, warned = _failing(checks), _failing(warnings)
                status, kind = (503 if reasons else 200), "application/json"
                told = {"ready": not reasons, "reasons": reasons, "warnings": warned}
                body = json.dumps(told).encode()
            case _:
                status, kind, body = 404, "text/plain", b"try /metrics, /healthz or /readyz\n"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return server(app, host, port)


def _failing(checks: Mapping[str, Check]) -> dict[str, str]:
    return {name: why for name, check in checks.items() if (why := check())}
