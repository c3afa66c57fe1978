"""A server that answers before it has read a request, and hangs up: no gateway, but a proxy may."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from merganser_client.event import Event
from merganser_client.gateway import Gateway


@pytest.fixture
def hasty() -> Iterator[str]:
    """Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")

        answering = threading.Thread(target=answer)
        answering.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        answering.join()


def test_its_answer_is_read(hasty: str) -> None:
    gateway = Gateway(hasty, "key", timeout=10)
    noise = os.urandom(30 << 20).hex().encode()  # more than any buffer on the way holds
    assert gateway.post([Event("m", noise)]).status == 413
    gateway.close()
