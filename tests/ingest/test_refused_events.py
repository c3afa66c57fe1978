"""The sample of refused events in its own topic."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from ingest.refused_events import MAX_WAITING, Origin, RefusedEvents
from merganser.http.errors import ErrorKind, HttpError
from merganser.runtime import kafka, metrics
from merganser.runtime.settings import Settings
from schemas import refused_event
from schemas.refused_event import MAX_CONTENT, MAX_RECORD_BYTES, RefusedEvent
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.topics import Topic
from tests.support.waiting import equals, eventually

METRIC = "merganser_ingest_refused_records_total"
OUTCOMES = ("published", "limited", "dropped", "failed")
LONG = "x" * 300


async def recorded(topic: Topic) -> list[RefusedEvent]:
    """Return what the topic has now, in order."""
    found = [refused_event.decode(record.value) for record in await topic.records()]
    assert None not in found
    return [refused for refused in found if refused]


async def only(topic: Topic) -> RefusedEvent:
    """Return the one record of the topic, once it is there."""
    await eventually(topic.size, equals(1))
    (refused,) = await recorded(topic)
    return refused


async def test_a_refused_event_is_recorded_with_reason_field_and_ids(system: System) -> None:
    gateway = await system.ingest()
    good = {"type": "pageview", "userId": "ann"}
    bad = {"type": "buy", "userId": LONG, "anonymousId": "laptop", "messageId": "m1"}
    body = {"events": [good, {**bad, "data": {"a": 1}}]}
    await gateway.post("/api/v1/batch", json.dumps(body).encode(), {"x-request-id": "r-1"})
    refused = await only(system.refused)
    reason = "has 300 characters, 191 are allowed"
    assert refused.fields == {"userId": reason}
    assert refused.reason == f"userId: {reason}"
    assert (refused.code, refused.path, refused.request_id) == ("invalid", "/api/v1/batch", "r-1")
    assert (refused.type, refused.anonymous_id, refused.message_id) == ("buy", "laptop", "m1")
    assert refused.user_id == LONG[: refused_event.MAX_ID]
    key = await system.database.value('SELECT guid FROM "apiKeys"')
    assert refused.producer_guid == key
    assert refused.content is None
    assert abs(refused.at - datetime.now(UTC)) < timedelta(hours=1)


async def test_an_event_that_its_dialect_cannot_read_has_its_ids(system: System) -> None:
    gateway = await system.ingest()
    body = {"anonymousId": "laptop", "userId": 7, "messageId": "m1"}
    await gateway.post("/v1/track", json.dumps(body).encode())
    refused = await only(system.refused)
    assert refused.fields == {"event": "must be the event's name"}
    assert (refused.anonymous_id, refused.user_id, refused.message_id) == ("laptop", "7", "m1")


async def test_a_stranger_leaves_only_the_path_and_the_reason(system: System) -> None:
    gateway = await system.ingest()
    body = json.dumps({"type": "buy", "userId": "ann", "data": {"card": "4711"}}).encode()
    headers = {"authorization": "Bearer mk_guess"}
    await gateway.post("/api/v1/track", body, headers)
    await eventually(system.refused.size, equals(1))
    (record,) = await system.refused.records()
    value = record.value or b""
    refused = refused_event.decode(value)
    assert refused
    assert (refused.code, refused.path, refused.events) == ("unauthorized", "/api/v1/track", 1)
    for text in (b"ann", b"buy", b"4711", b"guess"):
        assert text not in value


async def test_a_request_without_an_event_is_not_recorded(system: System) -> None:
    gateway = await system.ingest()
    await gateway.request("GET", "/wp-login.php")
    await gateway.request("DELETE", "/api/v1/track")
    await gateway.post("/api/v1/track", b"{")
    refused = await only(system.refused)
    assert (refused.code, refused.events) == ("malformed", 0)


async def test_content_is_recorded_only_if_set_and_without_the_key(system: System) -> None:
    gateway = await system.ingest(ingest_refused_content=150)
    key = await system.key("web", "events:write")
    body = {
        "apiKey": key,
        "type": "buy",
        "userId": LONG,
        "messageId": 1,
        "data": {"big": "ä" * 500},
    }
    await gateway.request("POST", "/api/v1/track", json.dumps(body).encode())
    refused = await only(system.refused)
    assert refused.content is not None
    assert refused.content.startswith('{"apiKey":"mk_","type":"buy"')
    assert key not in refused.content
    assert len(refused.content.encode()) <= 150


async def test_without_a_topic_ingest_works_as_before(system: System) -> None:
    gateway = await system.ingest(refused_topic="missing-topic", ingest_refused_rate=100_000)
    for number in range(3):
        answer = await gateway.batch([{"type": "t", "userId": f"user-{number}"}, *[{}] * 900])
        assert answer.status_code == 200
        assert answer.json()["accepted"] == 1
    assert await system.events.size() == 3
    counted = await outcomes(gateway)
    assert counted["dropped"] >= 3 * 900 - 2 * MAX_WAITING
    assert counted["published"] == 0
    assert await gateway.readiness_warnings() == {}
    assert await gateway.stop(within=10) == 0
    assert gateway.defects == []


async def outcomes(gateway: Gateway) -> dict[str, float]:
    page = await gateway.metrics()
    return {outcome: page.value(METRIC, outcome=outcome) for outcome in OUTCOMES}


@asynccontextmanager
async def recording(
    system: System, per_second: int = 10, content_bytes: int = 0, bootstrap: str | None = None
) -> AsyncIterator[RefusedEvents]:
    """Run a recorder whose clock stands still for the length of an `async with` block."""
    settings = Settings(
        _env_file=None, kafka_bootstrap=bootstrap or system.env["MERGANSER_KAFKA_BOOTSTRAP"]
    )

    def make_producer() -> AIOKafkaProducer:
        return kafka.producer(settings, "tests", timeout=5, largest=MAX_RECORD_BYTES)

    topic = system.refused.name
    recorder = RefusedEvents(make_producer, topic, per_second, content_bytes, lambda: 0.0)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.wait({task})


def refuse(recorder: RefusedEvents, key: str | None, number: int, event: Any = None) -> None:
    """Record events of one request that are refused."""
    error = HttpError(ErrorKind.INVALID, "no", {"type": "no"})
    origin = Origin(b"request", "/path", key)
    if key is None:
        for _ in range(number):
            recorder.record_request(origin, HttpError(ErrorKind.UNAUTHORIZED, "no"), 1)
    else:
        recorder.record_events(origin, [event or {}] * number, [error] * number, number)


def counts() -> dict[str, float]:
    return {
        outcome: metrics.INGEST.get_sample_value(METRIC, {"outcome": outcome}) or 0
        for outcome in OUTCOMES
    }


async def test_no_key_takes_more_than_half_and_strangers_take_one(system: System) -> None:
    before = counts()
    async with recording(system, per_second=10) as recorder:
        refuse(recorder, None, 50)
        refuse(recorder, "key_flood", 1000)
        refuse(recorder, "key_other", 3)
        refuse(recorder, "key_late", 50)
        await eventually(lambda: counts()["published"] - before["published"], equals(10))
    keys = [refused.producer_guid for refused in await recorded(system.refused)]
    assert keys == [None, *["key_flood"] * 5, *["key_other"] * 3, "key_late"]
    assert counts()["limited"] - before["limited"] == 50 + 1000 + 3 + 50 - 10


async def test_while_kafka_is_away_memory_is_bounded(system: System) -> None:
    before = counts()
    async with recording(system, per_second=100_000, bootstrap="127.0.0.1:1") as recorder:
        refuse(recorder, "key_flood", 10_000)
        await asyncio.sleep(0)
        refuse(recorder, "key_flood", 10_000)
        dropped = counts()["dropped"] - before["dropped"]
        assert 20_000 - 2 * MAX_WAITING <= dropped <= 20_000 - MAX_WAITING


async def test_a_producer_that_cannot_be_made_ends_nothing() -> None:
    def make_producer() -> AIOKafkaProducer:
        raise ValueError("no certificate")

    recorder = RefusedEvents(make_producer, "topic", 10, 0, lambda: 0.0)
    before = counts()
    running = asyncio.create_task(recorder.run())
    refuse(recorder, "key_1", 1)
    await eventually(lambda: counts()["failed"] - before["failed"], equals(1))
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


@pytest.mark.parametrize("character", ["\x01", "\ud800", '"', "Ω", "\U0001f600"], ids=ascii)
async def test_the_largest_record_fits_whatever_a_client_sends(
    system: System, character: str
) -> None:
    text = character * 100_000
    fields = {f"{number}{text}": text for number in range(100)}
    event = dict.fromkeys(("type", "userId", "anonymousId", "messageId", text), text)
    async with recording(system, content_bytes=MAX_CONTENT) as recorder:
        error = HttpError(ErrorKind.INVALID, text, fields)
        origin = Origin(b"r" * 1000, text, "key_1")
        recorder.record_events(origin, [event], [error], 1)
        await eventually(system.refused.size, equals(1))
    (record,) = await system.refused.records()
    assert record.value
    assert len(record.value) < MAX_RECORD_BYTES - 8192
    assert refused_event.decode(record.value)


async def test_records_of_other_writers_are_no_refused_events() -> None:
    for value in (None, b"", b"x", b"[]", b'{"at": 7}', b"[" * 100_000):
        assert refused_event.decode(value) is None
