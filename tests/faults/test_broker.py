"""Kafka fails under load: ingest answers 503 soon, in bounded memory; nothing is lost."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

import pytest

from dev.stack.kafka import Kafka
from tests.chaos.comparison import verify
from tests.chaos.load import Load
from tests.support import memory
from tests.support.freezing import freeze, thaw
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults

DOWN_SECONDS = 30.0
MAX_REFUSAL_SECONDS = 2.0
"""Until a client has the answer 503."""
PUBLISH_TIMEOUT = 1.0
"""Seconds that these gateways wait for Kafka, half a second less than by default: starting brokers
on a busy machine has added 0.6 s to an answer."""


@asynccontextmanager
async def loaded(system: System) -> AsyncIterator[Load]:
    """Run a load before, during and after the block, then compare the tables."""
    gateway = await system.ingest(ingest_publish_timeout=PUBLISH_TIMEOUT)
    resolver = await system.resolver(resolver_session_timeout=6)
    async with Load([gateway.url], gateway.key) as load:
        await load.wait_for(more=200)
        yield load
        await load.wait_for(more=200, within=90)
        for service in (gateway, resolver):
            await eventually(service.why_not_ready, equals({}), within=60)
            assert service.defects == []
    assert 0 < load.ledger.slowest_refusal < MAX_REFUSAL_SECONDS
    await verify(system, load.ledger)


async def test_broker_is_stopped_for_30_s(system: System, broker: Kafka) -> None:
    async with loaded(system) as load:
        await asyncio.to_thread(broker.stop)
        acknowledged = len(load.ledger)
        await asyncio.sleep(DOWN_SECONDS)
        assert len(load.ledger) == acknowledged
        assert load.ledger.failures == {"503"}
        await asyncio.to_thread(broker.start)


async def test_broker_is_killed(system: System, broker: Kafka) -> None:
    async with loaded(system) as load:
        for _ in range(2):
            os.kill(broker.pid or 0, signal.SIGKILL)
            await eventually(lambda: not broker.running)
            await asyncio.to_thread(broker.start)
            await load.wait_for(more=200, within=90)


async def test_broker_is_frozen(system: System, broker: Kafka) -> None:
    """Once for a moment, once longer than the timeouts of sessions and requests."""
    async with loaded(system) as load:
        for seconds in (1, 15):
            await asyncio.to_thread(freeze, broker)
            await asyncio.sleep(seconds)
            thaw(broker)
            await load.wait_for(more=200, within=90)


REQUESTS = 10_000
CONNECTIONS = 50
MAX_GROWTH = 64 << 20
"""Bytes: twice what may wait for Kafka (MERGANSER_INGEST_MAX_WAITING)."""
BODY = 16_000
"""Bytes of each body: all together are far more than the process may grow by."""


async def test_ten_thousand_requests_while_it_is_frozen(system: System, broker: Kafka) -> None:
    """Each is answered 503 within two seconds, in bounded memory; later requests succeed."""
    gateway = await system.ingest(ingest_publish_timeout=PUBLISH_TIMEOUT)
    await system.resolver(resolver_session_timeout=6)
    async with Load([gateway.url], gateway.key) as load:
        await load.wait_for(more=200)
    await asyncio.to_thread(freeze, broker)
    growth, answers = await memory.measure_growth(gateway.pid, _flood(gateway))
    assert len(answers) == REQUESTS
    assert {status for status, _, _ in answers} == {503}
    assert all(int(retry_after) >= 1 for _, retry_after, _ in answers)
    assert max(seconds for _, _, seconds in answers) < MAX_REFUSAL_SECONDS
    assert growth < MAX_GROWTH
    thaw(broker)
    async with load:
        await load.wait_for(more=200)
    # No request of the flood was acknowledged, but Kafka may have written some of its events.
    await system.consumed()
    await system.database.execute(DELETE_FLOOD)
    await verify(system, load.ledger)
    assert await gateway.metric("merganser_ingest_waiting_bytes") == 0


DELETE_FLOOD: LiteralString = """
WITH flood AS (DELETE FROM events WHERE type = 'flood' RETURNING guid)
DELETE FROM "eventData" USING flood WHERE "eventGuid" = flood.guid
"""


async def _flood(gateway: Gateway) -> list[tuple[int, str, float]]:
    """Return status, Retry-After and the seconds until the answer of each request."""
    body = json.dumps({"type": "flood", "userId": "1", "data": {"a": "x" * BODY}}).encode()
    request = (
        "POST /api/v1/track HTTP/1.1\r\nhost: here\r\n"
        f"authorization: Bearer {gateway.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    left = iter(range(REQUESTS))
    answers = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in left:
            start = time.monotonic()
            writer.write(request)
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            await reader.readexactly(int(headers["content-length"]))
            seconds = time.monotonic() - start
            answers.append((int(status.split()[1]), headers.get("retry-after", ""), seconds))
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return answers
