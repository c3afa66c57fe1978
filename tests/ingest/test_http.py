"""Responses over real HTTP, and the records in a real Kafka."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from schemas.event import Event, decode
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.topics import Record


async def read_published(system: System, guid: str) -> tuple[Record, Event]:
    """Return the only record of an event, and the event in it."""
    found = [
        (record, decode(record.value))
        for record in await system.events.records()
        if record.value and guid.encode() in record.value
    ]
    assert len(found) == 1
    return found[0]


async def test_success_is_200_with_the_guid_of_the_event(gateway: Gateway) -> None:
    answer = await gateway.track(type="pageview", anonymousId="person_1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body == {"success": True, "event": {"guid": body["event"]["guid"]}}
    assert body["event"]["guid"].startswith("evt_")


async def test_an_accepted_event_is_in_the_topic(shared: System, gateway: Gateway) -> None:
    guid = await gateway.tracked(
        type="purchase",
        userId=123,
        anonymousId="person_1",
        occurredAt=1772366415123,
        data={"total": 19.5, "items": [{"sku": "a\tb"}], "coupon": None},
    )
    record, event = await read_published(shared, guid)
    assert record.key == b"person_1"
    assert record.headers == {"schema-version": b"1"}
    assert datetime.now(UTC) - event["createdAt"] < timedelta(minutes=1)
    assert event == {
        "guid": guid,
        "producerGuid": await shared.database.value('SELECT guid FROM "apiKeys" LIMIT 1'),
        "ipAddress": "127.0.0.1",
        "createdAt": event["createdAt"],
        "occurredAt": datetime(2026, 3, 1, 12, 0, 15, 123000, tzinfo=UTC),
        "type": "purchase",
        "userId": "123",
        "anonymousId": "person_1",
        "data": {"total": "19.5", "items": '[{"sku":"a\\tb"}]'},
    }


async def test_events_of_one_device_are_in_one_partition_in_order(
    shared: System, gateway: Gateway
) -> None:
    guids = [
        await gateway.tracked(type="t", anonymousId="device", userId=n or None) for n in range(9)
    ]
    records = [await read_published(shared, guid) for guid in guids]
    assert len({record.partition for record, _ in records}) == 1
    offsets = [record.offset for record, _ in records]
    assert offsets == sorted(offsets, key=lambda offset: offset or 0)


async def test_a_batch_has_a_result_for_each_event(shared: System, gateway: Gateway) -> None:
    good = {"type": "t", "userId": "1"}
    bad = [{"type": "t"}, 7, {"type": "t", "userId": "\x00"}, {"type": "t", "userId": {}}, None]
    answer = await gateway.batch([good, *bad, good])
    assert answer.status_code == 200
    body = answer.json()
    assert (body["success"], body["accepted"], body["rejected"]) == (False, 2, 5)
    results = body["events"]
    assert [result["success"] for result in results] == [True, *[False] * 5, True]
    for refused in results[1:-1]:
        assert refused["code"] == refused["error"]["code"] == "invalid"
        assert refused["message"] == refused["error"]["message"] != ""
        assert refused["error"]["fields"]
    for accepted in (results[0], results[-1]):
        await read_published(shared, accepted["event"]["guid"])


async def test_a_large_batch_is_published_whole(shared: System, gateway: Gateway) -> None:
    events = [
        {"type": "t", "anonymousId": f"large-{n % 50}", "data": {"n": n, "filler": "x" * 900}}
        for n in range(900)
    ]
    answer = await gateway.batch(events)
    assert answer.status_code == 200, answer.text
    guids = [result["event"]["guid"] for result in answer.json()["events"]]
    found = {
        event["guid"]: event["data"]["n"]
        for record in await shared.events.records()
        if (event := decode(record.value or b""))["guid"] in set(guids)
    }
    assert [found[guid] for guid in guids] == [str(n) for n in range(900)]


async def test_many_clients_at_once_each_get_their_own_event(
    shared: System, gateway: Gateway
) -> None:
    guids = await asyncio.gather(
        *(gateway.tracked(type="t", userId=f"client-{n}") for n in range(100))
    )
    users = {
        event["guid"]: event["userId"]
        for record in await shared.events.records()
        if (event := decode(record.value or b""))["guid"] in set(guids)
    }
    assert [users[guid] for guid in guids] == [f"client-{n}" for n in range(100)]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/track/", "//api/v1/track", "/api//v1///track//", "/api/v1/track?retry_count=1"],
)
async def test_extra_slashes_and_queries_are_ignored(gateway: Gateway, path: str) -> None:
    answer = await gateway.post(path, b'{"type": "t", "userId": "1"}')
    assert answer.status_code == 200, answer.text


async def test_forwarded_addresses_count_only_from_trusted_proxies(
    system: System, gateway: Gateway, shared: System
) -> None:
    body = json.dumps({"type": "t", "userId": "1"}).encode()
    forwarded = {"x-forwarded-for": "203.0.113.7, 198.51.100.9"}
    answer = await gateway.post("/api/v1/track", body, forwarded)
    _, event = await read_published(shared, answer.json()["event"]["guid"])
    assert event["ipAddress"] == "127.0.0.1"

    trusting = await system.ingest(trusted_proxies="127.0.0.0/8, 198.51.100.0/24")
    answer = await trusting.post("/api/v1/track", body, forwarded)
    _, event = await read_published(system, answer.json()["event"]["guid"])
    assert event["ipAddress"] == "203.0.113.7"
