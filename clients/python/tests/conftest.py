import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from merganser_client import AsyncClient, Client, Failure
from standin import Standin


@pytest.fixture
def standin() -> Iterator[Standin]:
    """A gateway that does as it is told."""
    standin = Standin()
    yield standin
    standin.stop()


@pytest.fixture
def failures() -> list[Failure]:
    """What the clients of `connect` told their owner."""
    return []


FAST: dict[str, Any] = {"interval": 0.01, "first_delay": 0.01, "longest_delay": 0.05}


@pytest.fixture
def connect(standin: Standin, failures: list[Failure]) -> Iterator[Callable[..., Client]]:
    """Makes clients of the stand-in that are in a hurry, and ends them."""
    made: list[Client] = []

    def connect(**options: Any) -> Client:
        client = Client("key", standin.url, **{**FAST, "on_error": failures.append, **options})
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close(timeout=0)


@pytest.fixture
def connect_async(
    standin: Standin, failures: list[Failure]
) -> Iterator[Callable[..., AsyncClient]]:
    """The same for asyncio."""
    made: list[AsyncClient] = []

    def connect(**options: Any) -> AsyncClient:
        client = AsyncClient("key", standin.url, **{**FAST, "on_error": failures.append, **options})
        made.append(client)
        return client

    yield connect
    for client in made:
        asyncio.run(client.close(timeout=0))
