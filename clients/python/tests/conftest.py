import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fake_ingest import FakeIngest
from merganser_client import AsyncClient, Client, Failure


@pytest.fixture
def fake_ingest() -> Iterator[FakeIngest]:
    server = FakeIngest()
    yield server
    server.stop()


@pytest.fixture
def failures() -> list[Failure]:
    """What `on_error` of the clients of `connect` received."""
    return []


@pytest.fixture(autouse=True)
def _restore_logger() -> Iterator[None]:
    """Undo what `debug=True` does to the logger, which all clients share."""
    logger = logging.getLogger("merganser")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


FAST: dict[str, Any] = {"interval": 0.01, "first_delay": 0.01, "longest_delay": 0.05}


@pytest.fixture
def connect(fake_ingest: FakeIngest, failures: list[Failure]) -> Iterator[Callable[..., Client]]:
    """Create clients of the fake server with short intervals, and close them after the test."""
    clients: list[Client] = []

    def connect(**options: Any) -> Client:
        client = Client("key", fake_ingest.url, **{**FAST, "on_error": failures.append, **options})
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close(timeout=0)


@pytest.fixture
def connect_async(
    fake_ingest: FakeIngest, failures: list[Failure]
) -> Iterator[Callable[..., AsyncClient]]:
    """As `connect`, for asyncio."""
    clients: list[AsyncClient] = []

    def connect(**options: Any) -> AsyncClient:
        options = {**FAST, "on_error": failures.append, **options}
        client = AsyncClient("key", fake_ingest.url, **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        asyncio.run(client.close(timeout=0))
