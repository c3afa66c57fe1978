"""`python -m dev.bench.far PORT TARGET MILLISECONDS`: a Postgres as far away as that.

A proxy on PORT of 127.0.0.1 that gives each answer of TARGET on so much later, and holds none up
behind another: the time of a round trip grows, what can be sent in a time does not shrink.
"""

import asyncio
import sys
import time

import uvloop


async def _near(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        while True:
            due, data = await on_its_way.get()
            await asyncio.sleep(due - time.monotonic())
            writer.write(data)

    arriving = asyncio.create_task(arrive())
    while data := await reader.read(1 << 16):
        on_its_way.put_nowait((time.monotonic() + delay, data))
    arriving.cancel()
    writer.close()


async def _main(port: int, target: int, delay: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            _near(reader, there_writer),
            _far(there_reader, writer, delay),
            return_exceptions=True,  # a connection that breaks is broken on both sides
        )

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
