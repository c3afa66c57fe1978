"""A proxy before a Kafka broker that can starve consumers: fetches are answered, without records.

So the group's coordinator hears heartbeats and tells offsets, as with a consumer whose fetcher is
stuck. The broker's address in its answers is replaced by the proxy's, or clients would go past it.
"""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from dev.stack.ports import free_port

_FETCH = 1
_HEAD = struct.Struct(">hhi")
"""Of a request: what is asked, in which version, and the number that its answer repeats."""
_HOST = "127.0.0.1"
_PAUSE = 0.1
"""Seconds before an empty answer: a broker waits for records too."""


class StarvingProxy:
    """Passes frames on; while `starving`, the records of fetches are left out."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.partition(":")
        self._target = (host, int(port))
        self.port = free_port(set())
        self.starving = False
        self._theirs = _written(host, int(port))
        self._ours = _written(_HOST, self.port)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        asked: deque[tuple[int, int]] = deque()
        for task in (
            asyncio.create_task(self._requests(reader, there_writer, asked)),
            asyncio.create_task(self._answers(there_reader, writer, asked)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _requests(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        asked: deque[tuple[int, int]],
    ) -> None:
        async for frame in _frames(source):
            what, version, _ = _HEAD.unpack_from(frame)
            asked.append((what, version))  # a broker answers a connection in order
            _send(sink, frame)
        sink.close()

    async def _answers(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        asked: deque[tuple[int, int]],
    ) -> None:
        async for frame in _frames(source):
            what, version = asked.popleft()
            answer = frame
            for theirs, ours in zip(self._theirs, self._ours, strict=True):
                answer = answer.replace(theirs, ours)
            if what == _FETCH and self.starving:
                await asyncio.sleep(_PAUSE)
                # The number of the request; then throttle, error and session, and no topics.
                answer = frame[:4] + bytes(14 if version >= 7 else 8)
            _send(sink, answer)
        sink.close()


async def _frames(source: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            (size,) = struct.unpack(">i", await source.readexactly(4))
            yield await source.readexactly(size)


def _written(host: str, port: int) -> tuple[bytes, bytes]:
    """Return an address as answers have it: before a version of each, and from that version on."""
    rest = host.encode() + struct.pack(">i", port)
    return struct.pack(">h", len(host)) + rest, bytes([len(host) + 1]) + rest


def _send(sink: asyncio.StreamWriter, frame: bytes) -> None:
    sink.write(struct.pack(">i", len(frame)) + frame)


@asynccontextmanager
async def before(bootstrap: str) -> AsyncIterator[tuple[StarvingProxy, str]]:
    """Run a proxy before a broker; yields it and the address to give to a process."""
    proxy = StarvingProxy(bootstrap)
    server = await asyncio.start_server(proxy.serve, _HOST, proxy.port)
    try:
        yield proxy, f"{_HOST}:{proxy.port}"
    finally:
        server.close()
        await proxy.close()
