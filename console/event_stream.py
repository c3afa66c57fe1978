"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse

from merganser.http.asgi import Send

SLOW_SECONDS = 5.0
"""How long the connection may not take a message. Then the client is too slow."""

HEARTBEAT = ": \n\n"
"""A comment. It keeps proxies from closing a connection on which nothing happens."""


def format_message(kind: str, text: str) -> str:
    """Return a message; clients listen to its kind."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "".join((f"event: {kind}\n", *(f"data: {line}\n" for line in lines), "\n"))


class EventStream(StreamingResponse):
    """A response of messages. It ends with the client, or when the client reads too slowly.

    Args:
        messages: formatted; closed at the end.
    """

    def __init__(self, messages: AsyncGenerator[str]) -> None:
        # The second header turns off the buffers of nginx.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(messages, headers=headers, media_type="text/event-stream")
        self._messages = messages

    async def stream_response(self, send: Send) -> None:
        """Send the messages. Starlette cancels this when the client disconnects."""
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        try:
            async with aclosing(self._messages):
                async for message in self._messages:
                    async with asyncio.timeout(SLOW_SECONDS):
                        await send(
                            {
                                "type": "http.response.body",
                                "body": message.encode(),
                                "more_body": True,
                            }
                        )
        except TimeoutError:
            # The server aborts the connection: see `ConnectionLimits.request_seconds`.
            await asyncio.Event().wait()
        await send({"type": "http.response.body", "body": b""})
