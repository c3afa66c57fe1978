"""A client of the console's stream of live events."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from tests.console.viewer import FROM_PAGE
from tests.support.system import System


class Message(NamedTuple):
    """One message of a stream."""

    kind: str
    data: str


@asynccontextmanager
async def logged_in(
    system: System, url: str, *permissions: str, name: str = "viewer"
) -> AsyncIterator[httpx.AsyncClient]:
    """Log in to a console that runs as a process."""
    key = await system.key(name, *permissions)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        headers = {**FROM_PAGE, "origin": url}
        response = await client.post("/login", data={"key": key}, headers=headers)
        assert response.status_code == 303, response.text
        yield client


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, **parameters: str
) -> AsyncIterator[AsyncIterator[Message]]:
    """Open the stream as a browser does."""
    headers = {"accept": "text/event-stream"}
    async with client.stream("GET", "/live/stream", params=parameters, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _read(response)


async def wait_for(
    messages: AsyncIterator[Message], is_wanted: Callable[[Message], bool]
) -> Message:
    """Return the first message that is wanted."""
    async for message in messages:
        if is_wanted(message):
            return message
    raise AssertionError("the stream ended")


async def _read(response: httpx.Response) -> AsyncIterator[Message]:
    kind, lines = "message", list[str]()
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            lines.append(value)
        elif not line and lines:
            yield Message(kind, "\n".join(lines))
            lines = []
