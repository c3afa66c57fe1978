"""Slow, greedy and too many clients: cut, and others are served meanwhile."""

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
    """Reads the body at `/`; answers at once at `/early`, later at `/late`, much at `/long`."""
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
async def listening(bounds: ConnectionLimits) -> AsyncIterator[int]:
    port = free_port(set())
    http = create_server(app, "127.0.0.1", port, bounds, timeout_graceful_shutdown=1)
    serving = asyncio.create_task(http.serve())
    await eventually(lambda: http.started)
    try:
        yield port
    finally:
        http.should_exit = True
        await serving


class Client:
    """A connection that sends what it likes, when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._dripping: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def drip(self, first: bytes, drop: bytes) -> None:
        """Send something, and then a little more again and again, until cut."""

        async def dripping() -> None:
            self._writer.write(first)
            while True:
                self._writer.write(drop)
                await asyncio.sleep(0.05)

        self._dripping = asyncio.create_task(dripping())

    def drip_once(self, drop: bytes) -> None:
        """Send something."""
        self._writer.write(drop)

    async def body(self) -> bytes:
        """The body of `/`'s answer."""
        return await self._reader.readexactly(2)

    async def answer(self, request: bytes) -> bytes:
        """Send, and return the first line of the answer."""
        self._writer.write(request)
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        return head.partition(b"\r\n")[0]

    async def heard_until_cut(self) -> bytes:
        """All that the server said until it closed the connection."""
        heard = b""
        try:
            async with asyncio.timeout(10):
                while part := await self._reader.read(1 << 16):
                    heard += part
        except ConnectionError:
            pass
        finally:
            if self._dripping:
                self._dripping.cancel()
            self._writer.close()
        return heard


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        pytest.param(b"", b"", id="says nothing"),
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
async def test_a_slow_sender_is_cut(first: bytes, drop: bytes) -> None:
    async with listening(ConnectionLimits(head_seconds=0.5, request_seconds=0.5)) as port:
        client = await Client.connect(port)
        client.drip(first, drop)
        assert OK not in await client.heard_until_cut()


@pytest.mark.parametrize("drop", [b"\r\n", b"x", b"GET /x"], ids=["lines", "noise", "a request"])
async def test_so_is_one_who_was_answered_before(drop: bytes) -> None:
    bounds = ConnectionLimits(head_seconds=0.5, request_seconds=0.5)
    async with listening(bounds) as port:
        client = await Client.connect(port)
        assert await client.answer(HEAD + b"content-length: 1\r\n\r\nx") == OK
        client.drip(b"", drop)
        await client.heard_until_cut()


async def test_so_is_one_who_goes_on_with_a_body_after_the_answer() -> None:
    async with listening(ConnectionLimits(head_seconds=0.5)) as port:
        client = await Client.connect(port)
        client.drip(b"POST /early HTTP/1.1\r\ncontent-length: 999999\r\n\r\n", b"x")
        assert (await client.heard_until_cut()).startswith(OK)


async def test_so_is_one_who_does_not_read_the_answer() -> None:
    async with listening(ConnectionLimits(request_seconds=0.5)) as port:
        client = await Client.connect(port)
        assert await client.answer(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n") == OK
        await asyncio.sleep(1)  # the time in which it reads nothing
        assert len(await client.heard_until_cut()) < 64 << 20


async def test_a_slow_one_within_its_time_is_served_and_may_rest_in_between() -> None:
    async with listening(ConnectionLimits(head_seconds=1.5, request_seconds=1.5)) as port:
        client = await Client.connect(port)
        request = HEAD + b"content-length: 4\r\n\r\nbody"
        for _ in range(3):
            for byte in request[:-1]:
                client.drip_once(bytes([byte]))
                await asyncio.sleep(0.01)
            assert await client.answer(request[-1:]) == OK
            await client.body()
            await asyncio.sleep(0.5)


async def test_a_head_of_any_size_is_not_taken() -> None:
    async with listening(ConnectionLimits(head_bytes=10_000)) as port:
        client = await Client.connect(port)
        client.drip(HEAD, b"x: y\r\n" * 1000)
        assert (await client.heard_until_cut()).startswith(b"HTTP/1.1 431 ")


async def test_nor_are_trailers_of_any_size() -> None:
    async with listening(ConnectionLimits(request_bytes=10_000)) as port:
        client = await Client.connect(port)
        client.drip(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 1000)
        assert await client.heard_until_cut() == b""


@pytest.mark.parametrize(
    "head", [HEAD, HEAD + b"content-length: 9999\r\n\r\n"], ids=["head", "body"]
)
async def test_many_slow_senders_do_not_keep_others_out(head: bytes) -> None:
    async with listening(
        ConnectionLimits(connections=50, head_seconds=30, request_seconds=30)
    ) as port:
        slow = [await Client.connect(port) for _ in range(200)]
        for client in slow:
            client.drip(head, b"x: y\r\n")
        async with httpx.AsyncClient() as good:
            for _ in range(20):
                answer = await good.post(f"http://127.0.0.1:{port}/", content=b"x")
                assert answer.status_code == 200
        async with asyncio.timeout(10):
            await asyncio.gather(*(client.heard_until_cut() for client in slow[:150]))


async def test_a_request_in_hand_is_never_what_makes_room() -> None:
    async with listening(ConnectionLimits(connections=5)) as port:
        served = await Client.connect(port)
        served.drip_once(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
        others = [await Client.connect(port) for _ in range(20)]
        for other in others[-4:]:
            assert await other.answer(HEAD + b"content-length: 1\r\n\r\nx") == OK
        assert await served.answer(b"") == OK
