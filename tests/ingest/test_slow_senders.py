"""Slow senders on a real gateway; tests/http/test_connection_limits.py tests the server alone."""

import asyncio
from contextlib import suppress

from tests.support.system import System
from tests.support.waiting import eventually


async def test_two_hundred_slow_senders_do_not_block_other_clients(system: System) -> None:
    gateway = await system.ingest(
        ingest_max_connections=100, ingest_head_timeout=3, ingest_body_timeout=1
    )
    slow = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(200)]

    async def drip(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"POST /api/v1/track HTTP/1.1\r\n")
        if number % 2:
            writer.write(b"content-length: 1000\r\n\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.2)

    dripping = [asyncio.create_task(drip(writer, n)) for n, (_, writer) in enumerate(slow)]
    for number in range(20):
        await gateway.tracked(type="good", userId=f"user {number}")
    await eventually(
        lambda: all(task.done() for task in dripping), what="the gateway cuts all slow senders"
    )
    metrics = await gateway.metrics()
    assert metrics.value("merganser_http_connections_cut_total", reason="crowded") >= 100
    assert metrics.value("merganser_ingest_request_seconds_count", status="200") == 20
