"""ASGI: the types of an application, and how it sends a response."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""


async def send_response(
    send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes | None
) -> None:
    """Send a whole response.

    Args:
        send: from the server.
        status: of HTTP.
        headers: without the content's length, which is added.
        content: None for a response that has neither content nor a length.
    """
    length = [] if content is None else [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": content or b""})
