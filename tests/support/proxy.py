"""A TCP proxy between two processes, to break the network on purpose."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dev.stack.ports import free_port


class Proxy:
    """Passes bytes on; a test can stop, cut, freeze, delay and throttle it."""

    def __init__(self, host: str, port: int, own_port: int | None = None) -> None:
        self.delay = 0.0
        """Seconds by which each piece of up to 64 KiB is delayed, in either direction."""
        self.rate = math.inf
        """Bytes per second of a connection, in either direction."""
        self.delayed_bytes = 0
        """Number of bytes that were delayed, throttled or frozen so far."""
        self.cut_at: bytes | None = None
        """Cut all connections once, when something that is sent contains this."""
        self.resets = 0
        """Number of connections that were cut so far, counted in each direction."""
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = own_port or free_port()

    async def start(self) -> None:
        """Start to accept connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close all connections and refuse new ones, as if the server had ended."""
        if self._server:
            self._server.close()
            self._server = None
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections, and accept new ones."""
        for writer in self._connections:
            writer.transport.abort()
        self.resets += len(self._connections)
        self._connections.clear()

    def freeze(self) -> None:
        """Keep all connections, accept new ones, and pass nothing on, as if the network failed."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass everything on again."""
        self._flowing.set()

    def restore_speed(self) -> None:
        """Remove the delay and the limit of the rate."""
        self.delay, self.rate = 0.0, math.inf

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, target_writer), (target_reader, writer)):
            self._connections.add(sink)
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                seconds = self.delay + len(data) / self.rate
                if seconds or not self._flowing.is_set():
                    self.delayed_bytes += len(data)
                await self._flowing.wait()
                if seconds:
                    await asyncio.sleep(seconds)
                if self.cut_at and self.cut_at in data:
                    self.cut_at = None
                    self.cut()
                sink.write(data)
                await sink.drain()
        sink.close()
        self._connections.discard(sink)


@asynccontextmanager
async def run(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of a database; yield it and the URL that leads through it."""
    parts = conninfo_to_dict(database_url)
    proxy = Proxy(str(parts.get("host", "127.0.0.1")), int(str(parts.get("port", 5432))))
    await proxy.start()
    try:
        yield proxy, make_conninfo(database_url, host="127.0.0.1", port=proxy.port)
    finally:
        proxy.thaw()
        await proxy.stop()
