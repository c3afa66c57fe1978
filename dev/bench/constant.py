"""`python -m dev.bench.constant PORT`: ingest's server with an application that does nothing."""

import asyncio
import sys

from merganser.http.asgi import Receive, Scope, Send
from merganser.http.server import create_server
from merganser.runtime import lifecycle
from merganser.runtime.lifecycle import Stop

BODY = b'{"success":true,"event":{"guid":"evt_01a20b62-1dcd-7de5-b6d7-710b0f3a9c44"}}'
"""As long as a response of ingest."""

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
}
_END = {"type": "http.response.body", "body": BODY}


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Send the same response to any request."""
    await send(_START)
    await send(_END)


async def _serve(stop: Stop) -> None:
    serving = create_server(app, "127.0.0.1", int(sys.argv[1]), proxy_headers=False)
    task = asyncio.create_task(serving.serve())
    await stop.wait()
    serving.should_exit = True
    await task


if __name__ == "__main__":
    lifecycle.run(_serve)
