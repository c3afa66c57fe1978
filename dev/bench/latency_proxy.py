"""`python -m dev.bench.latency_proxy PORT TARGET MILLISECONDS`: add latency to Postgres.

A proxy on PORT of 127.0.0.1 forwards each response of TARGET after a delay that does not delay the
next one. So latency grows and throughput stays the same.
"""

import asyncio
import sys
import time

import uvloop


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _forward_later(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
) -> None:
    delayed: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write_when_due() -> None:
        while True:
            due, data = await delayed.get()
            await asyncio.sleep(due - time.monotonic())
            writer.write(data)

    writing = asyncio.create_task(write_when_due())
    while data := await reader.read(1 << 16):
        delayed.put_nowait((time.monotonic() + delay, data))
    writing.cancel()
    writer.close()


async def _main(port: int, target: int, delay: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            _forward(reader, target_writer),
            _forward_later(target_reader, writer, delay),
            return_exceptions=True,  # if one side disconnects, close both
        )

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
