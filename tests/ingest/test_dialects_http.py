"""Segment's and RudderStack's dialects over real HTTP: keys, responses, profiles."""

import base64
import gzip
import json
from typing import Any

from schemas.event import Event, decode
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

TRACK = {"type": "track", "event": "purchase", "userId": "1"}


def basic_authorization(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


async def read_published(system: System, mark: str) -> list[Event]:
    """Return the events in the topic whose data has this mark."""
    events = [decode(record.value) for record in await system.events.records() if record.value]
    return [event for event in events if event["data"].get("mark") == mark]


async def test_a_segment_batch_is_published(shared: System, gateway: Gateway) -> None:
    batch = [TRACK | {"properties": {"mark": "basic", "n": n}} for n in range(3)]
    body = gzip.compress(json.dumps({"batch": batch, "writeKey": "another"}).encode())
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        **basic_authorization(gateway.key),
    }
    answer = await gateway.request("POST", "/v1/batch", body, headers)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert sorted(event["data"]["n"] for event in await read_published(shared, "basic")) == list(
        "012"
    )


async def test_a_segment_event_of_a_page_is_published(shared: System, gateway: Gateway) -> None:
    """As text/plain from another origin, with the key only in the body."""
    call = {"anonymousId": "a", "properties": {"mark": "page"}, "writeKey": gateway.key}
    headers = {"content-type": "text/plain", "origin": "https://shop.example"}
    answer = await gateway.request("POST", "/v1/p", json.dumps(call).encode(), headers)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    (event,) = await read_published(shared, "page")
    assert (event["type"], event["anonymousId"]) == ("page", "a")


async def test_a_rudderstack_beacon_is_published(shared: System, gateway: Gateway) -> None:
    body = json.dumps({"batch": [TRACK | {"properties": {"mark": "beacon"}}]}).encode()
    path = f"/beacon/v1/batch?writeKey={gateway.key}"
    answer = await gateway.request("POST", path, body, {"content-type": "text/plain"})
    assert answer.status_code == 200, answer.text
    assert len(await read_published(shared, "beacon")) == 1


async def test_a_wrong_key_in_the_header_is_unauthorized(gateway: Gateway) -> None:
    """Even if the key in the body is right."""
    body = json.dumps({"batch": [TRACK], "writeKey": gateway.key}).encode()
    answer = await gateway.request("POST", "/v1/batch", body, basic_authorization("unknown"))
    assert answer.status_code == 401, answer.text


async def test_rejected_events_are_in_the_response(shared: System, gateway: Gateway) -> None:
    good, bad = TRACK | {"properties": {"mark": "mixed"}}, {"type": "merge"}
    mixed = await gateway.post("/v1/batch", json.dumps({"batch": [bad, good]}).encode())
    assert mixed.status_code == 200
    (refused,) = mixed.json()["rejected"]
    assert (refused["index"], refused["code"]) == (0, "invalid")
    assert len(await read_published(shared, "mixed")) == 1

    none = await gateway.post("/v1/batch", json.dumps({"batch": [bad]}).encode())
    assert none.status_code == 422
    assert none.json()["code"] == "invalid"
    assert none.json()["error"]["message"].startswith("type: must be one of")


async def test_clients_get_their_settings(gateway: Gateway) -> None:
    origin = {"origin": "http://shop.example"}
    segment = await gateway.request("GET", "/v1/projects/KEY/settings", headers=origin)
    assert segment.status_code == 200
    assert segment.headers["access-control-allow-origin"] == origin["origin"]
    assert segment.json()["integrations"]["Segment.io"] == {
        "apiKey": "KEY",
        "apiHost": gateway.url.removeprefix("http://") + "/v1",
        "protocol": "http",
    }
    rudderstack = await gateway.request("GET", "/sourceConfig/?p=npm&writeKey=KEY", headers=origin)
    assert rudderstack.status_code == 200
    assert rudderstack.headers["access-control-allow-origin"] == origin["origin"]
    assert rudderstack.json()["source"]["destinations"] == []
    assert (await gateway.request("HEAD", "/sourceConfig/?view=ad")).status_code == 200


async def test_headers_of_rudderstack_browser_clients_are_allowed(gateway: Gateway) -> None:
    """Even for a preflight request that names none."""
    answer = await gateway.request(
        "OPTIONS", "/v1/track", headers={"origin": "http://shop.example"}
    )
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {
        "anonymousid",
        "authorization",
        "content-type",
        "rsa-recovered",
        "rsa-retry-attempt",
        "rsa-retry-reason",
        "rsa-since-first-attempt",
        "rsa-since-last-attempt",
        "sentat",
    } <= allowed


async def test_identify_and_alias_link_and_two_users_are_never_merged(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    calls: list[dict[str, Any]] = [
        {"type": "page", "anonymousId": "laptop"},
        {"type": "page", "anonymousId": "phone"},
        {"type": "page", "anonymousId": "kiosk"},
        {"type": "identify", "anonymousId": "laptop", "userId": "ann"},
        {"type": "alias", "previousId": "phone", "userId": "ann"},
        {"type": "track", "event": "sale", "userId": "bob"},
        {"type": "alias", "previousId": "bob", "userId": "ann"},
        {"type": "group", "groupId": "family", "userId": "ann"},
        {"type": "group", "groupId": "family", "userId": "bob"},
    ]
    batch = [
        {**call, "timestamp": f"2026-03-01T12:00:0{n}Z", "messageId": f"m-{n}"}
        for n, call in enumerate(calls)
    ]
    for _ in range(2):  # the second time changes nothing
        answer = await gateway.post("/v1/batch", json.dumps({"batch": batch}).encode())
        assert answer.json() == {"success": True}
    await gateway.tracked(type="last", userId="ann")
    await eventually(lambda: system.database.count("events"), equals(len(calls) + 1))
    ann, bob = await system.database.profile_of("ann"), await system.database.profile_of("bob")
    owners = await system.database.rows(
        """SELECT coalesce("userId", "anonymousId"), "profileGuid" FROM events"""
    )
    assert ann != bob
    assert {owner for name, owner in owners if name in ("ann", "laptop", "phone")} == {ann}
    assert {owner for name, owner in owners if name == "bob"} == {bob}
    assert {ann, bob}.isdisjoint(owner for name, owner in owners if name == "kiosk")
