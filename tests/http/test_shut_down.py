"""A server that stops fails no request that a client could send."""

import asyncio
import socket

from dev.stack.ports import free_port
from merganser.http.asgi import Receive, Scope, Send
from merganser.http.server import create_server
from tests.support.waiting import eventually


async def app(_: Scope, __: Receive, send: Send) -> None:
    """Respond with 200."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def test_a_connection_that_waits_to_be_accepted_is_served() -> None:
    port = free_port()
    server = create_server(app, "127.0.0.1", port)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    # This test does not yield to the event loop, so the server cannot accept them yet.
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    stopping = asyncio.create_task(server.shut_down())
    try:
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await stopping
        await serving
        for client in clients:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
    finally:
        for client in clients:
            client.close()
