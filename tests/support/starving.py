"""A proxy in front of a Kafka broker that can answer fetches without records.

The coordinator of the group still gets heartbeats and reports offsets, as for a consumer whose
fetcher is stuck. The proxy replaces the broker's address in answers by its own, because clients
would bypass it otherwise.
"""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from dev.stack.ports import free_port

_FETCH = 1
_HEAD = struct.Struct(">hhi")
"""The head of a request: API key, version, and the correlation id that the answer repeats."""
_HOST = "127.0.0.1"
_PAUSE = 0.1
"""Seconds before an empty answer; a real broker waits for records, too."""


class StarvingProxy:
    """Passes frames on; while `starving`, answers to fetches have no records."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.partition(":")
        self._target = (host, int(port))
        self.port = free_port()
        self.starving = False
        self._theirs = _encode_address(host, int(port))
        self._ours = _encode_address(_HOST, self.port)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the connection of one client."""
        broker_reader, broker_writer = await asyncio.open_connection(*self._target)
        pending: deque[tuple[int, int]] = deque()
        for task in (
            asyncio.create_task(self._pass_requests(reader, broker_writer, pending)),
            asyncio.create_task(self._pass_answers(broker_reader, writer, pending)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass_requests(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pending: deque[tuple[int, int]],
    ) -> None:
        async for frame in _frames(source):
            api, version, _ = _HEAD.unpack_from(frame)
            pending.append((api, version))  # a broker answers the requests of a connection in order
            _send(sink, frame)
        sink.close()

    async def _pass_answers(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pending: deque[tuple[int, int]],
    ) -> None:
        async for frame in _frames(source):
            api, version = pending.popleft()
            answer = frame
            for theirs, ours in zip(self._theirs, self._ours, strict=True):
                answer = answer.replace(theirs, ours)
            if api == _FETCH and self.starving:
                await asyncio.sleep(_PAUSE)
                # The correlation id; then zeros: throttle time, error, session, number of topics.
                answer = frame[:4] + bytes(14 if version >= 7 else 8)
            _send(sink, answer)
        sink.close()


async def _frames(source: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            (size,) = struct.unpack(">i", await source.readexactly(4))
            yield await source.readexactly(size)


def _encode_address(host: str, port: int) -> tuple[bytes, bytes]:
    """Return an address as answers of old versions encode it, and as those of new versions do."""
    rest = host.encode() + struct.pack(">i", port)
    return struct.pack(">h", len(host)) + rest, bytes([len(host) + 1]) + rest


def _send(sink: asyncio.StreamWriter, frame: bytes) -> None:
    sink.write(struct.pack(">i", len(frame)) + frame)


@asynccontextmanager
async def run(bootstrap: str) -> AsyncIterator[tuple[StarvingProxy, str]]:
    """Run a proxy in front of a broker; yield it and its address."""
    proxy = StarvingProxy(bootstrap)
    server = await asyncio.start_server(proxy.serve, _HOST, proxy.port)
    try:
        yield proxy, f"{_HOST}:{proxy.port}"
    finally:
        server.close()
        await proxy.close()
