"""The server disconnects slow, greedy and too many clients, and serves others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from dev.stack.ports import free_port
from merganser.http.asgi import Receive, Scope, Send
from merganser.http.server import ConnectionLimits, create_server
from tests.support.waiting import eventually

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
OK = b"HTTP/1.1 200 OK"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body at `/`; respond at once at `/early`, late at `/late`, at length at `/long`."""
    if scope["path"] == "/late":
        await asyncio.sleep(1)
    if scope["path"] == "/":
        while (await receive()).get("more_body"):
            pass
    content = b"x" * (64 << 20 if scope["path"] == "/long" else 2)
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    for start in range(0, len(content), 1 << 20):
        part = content[start : start + (1 << 20)]
        more = start + len(part) < len(content)
        await send({"type": "http.response.body", "body": part, "more_body": more})


@asynccontextmanager
async def run_server(limits: ConnectionLimits) -> AsyncIterator[int]:
    """Run a server with these limits and yield its port."""
    port = free_port()
    http = create_server(app, "127.0.0.1", port, limits, timeout_graceful_shutdown=1)
    serving = asyncio.create_task(http.serve())
    await eventually(lambda: http.started)
    try:
        yield port
    finally:
        http.should_exit = True
        await serving


class WebSocket(asyncio.Protocol):
    """A library's protocol; `**_` because uvicorn passes its configuration."""

    def __init__(self, **_: object) -> None:
        super().__init__()


async def test_an_upgrade_request_is_answered_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even if a library for WebSockets is installed, as a dependency of another one."""
    monkeypatch.setattr("uvicorn.protocols.websockets.auto.AutoWebSocketsProtocol", WebSocket)
    async with run_server(ConnectionLimits()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /early HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        assert (await reader.readline()).startswith(OK)
        writer.close()


class RawClient:
    """A connection that sends any bytes at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._dripping: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, port: int) -> "RawClient":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def drip(self, first: bytes, drop: bytes) -> None:
        """Send the first bytes, then repeat the drop until the server disconnects."""

        async def keep_sending() -> None:
            self._writer.write(first)
            while True:
                self._writer.write(drop)
                await asyncio.sleep(0.05)

        self._dripping = asyncio.create_task(keep_sending())

    def send(self, content: bytes) -> None:
        """Send some bytes."""
        self._writer.write(content)

    async def read_body(self) -> bytes:
        """Return the body of the response of `/`."""
        return await self._reader.readexactly(2)

    async def request(self, request: bytes) -> bytes:
        """Send a request and return the first line of the response."""
        self._writer.write(request)
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        return head.partition(b"\r\n")[0]

    async def read_until_disconnected(self) -> bytes:
        """Return everything that the server sent until it closed the connection."""
        received = b""
        try:
            async with asyncio.timeout(10):
                while part := await self._reader.read(1 << 16):
                    received += part
        except ConnectionError:
            pass
        finally:
            if self._dripping:
                self._dripping.cancel()
            self._writer.close()
        return received


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"", b"\r\n", id="empty lines"),
        pytest.param(b"", b"P", id="a method"),
        pytest.param(b"GET /", b"x", id="a path"),
        pytest.param(HEAD + b"x: ", b"y", id="a header"),
        pytest.param(HEAD, b"x: y\r\n", id="headers"),
        pytest.param(HEAD + b"content-length: 9999\r\n\r\n", b"x", id="a body"),
        pytest.param(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunks"),
        pytest.param(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n", id="trailers"),
    ],
)
async def test_a_slow_sender_is_disconnected(first: bytes, drop: bytes) -> None:
    async with run_server(ConnectionLimits(head_seconds=0.5, request_seconds=0.5)) as port:
        client = await RawClient.connect(port)
        client.drip(first, drop)
        assert OK not in await client.read_until_disconnected()


@pytest.mark.parametrize("drop", [b"\r\n", b"x", b"GET /x"], ids=["lines", "noise", "a request"])
async def test_a_slow_sender_is_disconnected_after_an_earlier_response(drop: bytes) -> None:
    limits = ConnectionLimits(head_seconds=0.5, request_seconds=0.5)
    async with run_server(limits) as port:
        client = await RawClient.connect(port)
        assert await client.request(HEAD + b"content-length: 1\r\n\r\nx") == OK
        client.drip(b"", drop)
        await client.read_until_disconnected()


async def test_a_sender_that_continues_after_the_response_is_disconnected() -> None:
    async with run_server(ConnectionLimits(head_seconds=0.5)) as port:
        client = await RawClient.connect(port)
        client.drip(b"POST /early HTTP/1.1\r\ncontent-length: 999999\r\n\r\n", b"x")
        assert (await client.read_until_disconnected()).startswith(OK)


async def test_a_client_that_does_not_read_the_response_is_disconnected() -> None:
    async with run_server(ConnectionLimits(request_seconds=0.5)) as port:
        client = await RawClient.connect(port)
        assert await client.request(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n") == OK
        await asyncio.sleep(1)  # the client reads nothing for this time
        assert len(await client.read_until_disconnected()) < 64 << 20


async def test_a_slow_sender_within_the_time_limit_is_served() -> None:
    async with run_server(ConnectionLimits(head_seconds=1.5, request_seconds=1.5)) as port:
        client = await RawClient.connect(port)
        request = HEAD + b"content-length: 4\r\n\r\nbody"
        for _ in range(3):
            for byte in request[:-1]:
                client.send(bytes([byte]))
                await asyncio.sleep(0.01)
            assert await client.request(request[-1:]) == OK
            await client.read_body()
            await asyncio.sleep(0.5)


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with run_server(ConnectionLimits(head_bytes=10_000)) as port:
        client = await RawClient.connect(port)
        client.drip(HEAD, b"x: y\r\n" * 1000)
        assert (await client.read_until_disconnected()).startswith(b"HTTP/1.1 431 ")


async def test_trailers_that_are_too_large_disconnect() -> None:
    async with run_server(ConnectionLimits(request_bytes=10_000)) as port:
        client = await RawClient.connect(port)
        client.drip(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 1000)
        assert await client.read_until_disconnected() == b""


@pytest.mark.parametrize(
    "head", [HEAD, HEAD + b"content-length: 9999\r\n\r\n"], ids=["head", "body"]
)
async def test_many_slow_senders_do_not_block_other_clients(head: bytes) -> None:
    async with run_server(
        ConnectionLimits(connections=50, head_seconds=30, request_seconds=30)
    ) as port:
        slow = [await RawClient.connect(port) for _ in range(200)]
        for client in slow:
            client.drip(head, b"x: y\r\n")
        async with httpx.AsyncClient() as other_client:
            for _ in range(20):
                answer = await other_client.post(f"http://127.0.0.1:{port}/", content=b"x")
                assert answer.status_code == 200
        async with asyncio.timeout(10):
            await asyncio.gather(*(client.read_until_disconnected() for client in slow[:150]))


async def test_a_request_in_progress_is_never_disconnected_for_new_ones() -> None:
    async with run_server(ConnectionLimits(connections=5)) as port:
        served = await RawClient.connect(port)
        served.send(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
        others = [await RawClient.connect(port) for _ in range(20)]
        for other in others[-4:]:
            assert await other.request(HEAD + b"content-length: 1\r\n\r\nx") == OK
        assert await served.request(b"") == OK
