"""An HTTP proxy in front of a gateway that answers 503, cuts connections, or is slow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

Trouble = Literal["none", "unavailable", "cut", "slow"]
"""What happens to the first requests with events: nothing; the answer 503 with Retry-After; a cut
connection after the gateway has accepted them; or a late answer."""

TROUBLED_REQUESTS = 2
"""How many requests with events are affected."""
SLOW_SECONDS = 1.5

_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
    b"access-control-allow-origin: %s\r\naccess-control-allow-credentials: true\r\n"
    b"access-control-expose-headers: Retry-After\r\n"
    b"content-length: 2\r\nconnection: close\r\n\r\n{}"
)


@dataclass
class Proxy:
    """A running proxy, and the requests that it has passed on or affected."""

    url: str
    trouble: Trouble
    requests: int = 0
    """Number of requests with events."""
    troubled: int = 0


@asynccontextmanager
async def run(port: int, trouble: Trouble) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the gateway on this port."""
    proxy = Proxy("", trouble)
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await _serve(proxy, port, reader, writer)
        connections.remove(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for writer in connections:
            writer.transport.abort()
        await server.wait_closed()


async def _serve(
    proxy: Proxy, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one request and close the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    request = head + await _body(head, reader)
    troubled = _has_events(head) and proxy.requests < TROUBLED_REQUESTS and proxy.trouble != "none"
    proxy.requests += _has_events(head)
    proxy.troubled += troubled
    if troubled and proxy.trouble == "unavailable":
        writer.write(_UNAVAILABLE % _header(head, b"origin", b"*"))
        await writer.drain()
        return
    response = await _forward(port, request)
    if troubled and proxy.trouble == "cut":
        writer.transport.abort()
        return
    if troubled and proxy.trouble == "slow":
        await asyncio.sleep(SLOW_SECONDS)
    writer.write(response)
    await writer.drain()


def _has_events(head: bytes) -> bool:
    """Return whether it is a request with events; requests for settings are never affected."""
    return head.startswith(b"POST") and b"/flags" not in head.split(b"\r\n")[0]


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if _header(head, b"transfer-encoding") == b"chunked":
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(line, 16) + 2)
            body += line + chunk
            if chunk == b"\r\n":
                return body
    return await reader.readexactly(int(_header(head, b"content-length", b"0")))


async def _forward(port: int, request: bytes) -> bytes:
    """Return the gateway's complete answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    response = await reader.read()
    writer.close()
    return response


def _header(head: bytes, name: bytes, otherwise: bytes = b"") -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return otherwise
