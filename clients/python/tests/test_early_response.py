"""A server, such as a proxy, that responds and disconnects before it has read the request."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from merganser_client.event import Event
from merganser_client.transport import Transport


@pytest.fixture
def early_responder() -> Iterator[str]:
    """The URL of such a server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def respond() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")

        responding = threading.Thread(target=respond)
        responding.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        responding.join()


def test_the_response_is_read(early_responder: str) -> None:
    transport = Transport(early_responder, "key", timeout=10)
    noise = os.urandom(30 << 20).hex().encode()  # more than the buffers in between have room for
    assert transport.post([Event("m", noise)]).status == 413
    transport.close()
