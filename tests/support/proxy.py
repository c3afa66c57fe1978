"""A TCP proxy between two processes, to break the network on purpose."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dev.stack.ports import free_port


class Proxy:
    """Passes bytes on, until it is told to stop, to refuse, to freeze or to dawdle."""

    def __init__(self, host: str, port: int, own_port: int | None = None) -> None:
        self.delay = 0.0
        """Seconds that each piece of up to 64 KiB takes, either way."""
        self.rate = math.inf
        """Bytes a second of a connection, either way."""
        self.hindered = 0
        """Bytes so far that were delayed, throttled or held up."""
        self.resets = 0
        """Connections so far that were cut, counted in each direction."""
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = own_port or free_port(set())

    async def start(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close all connections and refuse new ones: the server is gone."""
        if self._server:
            self._server.close()
            self._server = None
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections; new ones are welcome."""
        for writer in self._connections:
            writer.transport.abort()
        self.resets += len(self._connections)
        self._connections.clear()

    def freeze(self) -> None:
        """Keep all connections, take new ones, and pass nothing on: the network is gone."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass everything on again."""
        self._flowing.set()

    def hurry(self) -> None:
        """Take back delay and rate."""
        self.delay, self.rate = 0.0, math.inf

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self._connections.add(sink)
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                lasts = self.delay + len(data) / self.rate
                if lasts or not self._flowing.is_set():
                    self.hindered += len(data)
                await self._flowing.wait()
                if lasts:
                    await asyncio.sleep(lasts)
                sink.write(data)
                await sink.drain()
        sink.close()
        self._connections.discard(sink)


@asynccontextmanager
async def before(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy before a database; yields it and the database's URL by way of it."""
    parts = conninfo_to_dict(database_url)
    proxy = Proxy(str(parts.get("host", "127.0.0.1")), int(str(parts.get("port", 5432))))
    await proxy.start()
    try:
        yield proxy, make_conninfo(database_url, host="127.0.0.1", port=proxy.port)
    finally:
        proxy.thaw()
        await proxy.stop()
