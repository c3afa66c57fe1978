"""Jitsu's two dialects: requests of the real packages, and the events that they become."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.dialects import ParsedRequest
from ingest.dialects.jitsu import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from schemas.event import Event
from tests.ingest.dialect import NOW, make_request, to_events, to_response, to_results
from tests.ingest.test_dialects_http import read_published
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

KINDS = ["page", "identify", "track", "group", "screen", "alias"]

NODE = {"library": {"name": "@jitsu/js", "version": "1.11.0", "env": "node"}}
IDENTIFY: dict[str, Any] = {
    "type": "identify",
    "userId": "123",
    "traits": {"name": "Ann", "address": {"city": "Bonn"}},
    "anonymousId": "c7862d8e-422e-4c68-a814-02d6b7b39ba4",
    "timestamp": "2026-03-01T11:59:58.026Z",
    "sentAt": "2026-03-01T12:00:00.000Z",
    "messageId": "bbmgo1bvg4ram2pvholu",
    "writeKey": "id:***",
    "context": {**NODE, "page": {}, "clientIds": {}, "campaign": {"source": "mail"}},
}
TRACK: dict[str, Any] = {
    **IDENTIFY,
    "type": "track",
    "event": "purchase",
    "properties": {"total": 19.990, "items": [{"sku": "mug-7"}]},
    "messageId": "2a939cso93f287yq6olfw0",
}

CONTEXT: dict[str, Any] = {
    "event_id": "",
    "user": {"anonymous_id": "d4tfv2", "id": 123, "email": "ann@example.com"},
    "ids": {},
    "utc_time": "2026-03-01T11:59:50.590000Z",
    "local_tz_offset": 0,
    "url": "https://shop.example/p?utm_source=mail",
    "utm": {"source": "mail"},
    "click_id": {},
}
EVENT_FIELDS = {
    "api_key": "KEY",
    "src": "jitsu",
    "event_type": "purchase",
    "total": 19.990,
    "items": [{"sku": "mug-7"}],
    "ship": {"to": {"city": "Bonn"}, "by": None},
}
OLD = {**CONTEXT, **EVENT_FIELDS}


def parse(route: str, body: Any, key: bytes = b"id:KEY") -> ParsedRequest:
    found = ROUTES[f"POST {route}"](make_request(body, headers={b"x-write-key": key}))
    assert isinstance(found, ParsedRequest)
    return found


def parse_old(
    body: Any, query: bytes = b"token=KEY", route: str = "/api/v1/event"
) -> ParsedRequest:
    found = ROUTES[f"POST {route}"](make_request(body, "x1y2", query=query))
    assert isinstance(found, ParsedRequest)
    return found


def parse_old_event(**fields: Any) -> Event:
    (event,) = to_events(parse_old([{**OLD, **fields}]))
    return event


def test_the_routes_of_the_dialect() -> None:
    assert set(ROUTES) == {
        *(f"POST /api/s/{kind}" for kind in KINDS),
        *(f"POST /api/s/s2s/{kind}" for kind in KINDS),
        "POST /api/v1/event",
        "POST /api/v1/s2s/event",
        "POST /api.*",
    }


class TestJitsuJs:
    """`@jitsu/js`."""

    @pytest.mark.parametrize("side", ["", "s2s/"])
    def test_identify_and_track_are_read(self, side: str) -> None:
        parsed = parse(f"/api/s/{side}identify", IDENTIFY)
        (identify,) = to_events(parsed)
        assert identify["type"] == "identify"
        assert (identify["userId"], identify["anonymousId"]) == ("123", IDENTIFY["anonymousId"])
        assert identify["occurredAt"] == datetime(2026, 3, 1, 11, 59, 58, 26000, tzinfo=UTC)
        context = {f"context.library.{key}": value for key, value in NODE["library"].items()}
        context["context.campaign.source"] = "mail"
        assert identify["data"] == {
            "traits.name": "Ann",
            "traits.address.city": "Bonn",
            **context,
        }
        assert to_response(parsed) == {"ok": True}

        (track,) = to_events(parse(f"/api/s/{side}track", TRACK))
        assert track["type"] == "purchase"
        assert track["data"] == {"total": "19.99", "items": '[{"sku":"mug-7"}]', **context}

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_path_is_the_type_of_the_event(self, kind: str) -> None:
        body = {"event": "purchase", "userId": "1"}
        (event,) = to_events(parse(f"/api/s/{kind}", body))
        assert event["type"] == ("purchase" if kind == "track" else kind)

    def test_the_clock_of_the_client_is_corrected(self) -> None:
        late = {"timestamp": "2026-03-01T11:49:55Z", "sentAt": "2026-03-01T11:50:00Z"}
        (event,) = to_events(parse("/api/s/track", {**TRACK, **late}))
        assert event["occurredAt"] == NOW - timedelta(seconds=5)

    def test_a_repeated_message_is_the_same_event(self) -> None:
        first, again, other = (
            to_events(parse("/api/s/track", {**TRACK, **changed}))[0]["guid"]
            for changed in ({}, {"sentAt": "2026-03-01T13:00:00Z"}, {"messageId": "other"})
        )
        assert first == again != other

    @pytest.mark.parametrize(
        ("header", "key"),
        [(b"id:KEY", "KEY"), (b"KEY", "KEY"), (b"id:KE:Y", "KE:Y"), (b"KEY:", "KEY"), (b"", "")],
    )
    def test_the_key_is_in_the_header(self, header: bytes, key: str) -> None:
        assert parse("/api/s/track", {**TRACK, "writeKey": "OTHER"}, header).api_key == key

    def test_a_refused_event_is_in_the_response(self) -> None:
        with pytest.raises(HttpError) as caught:
            to_response(parse("/api/s/track", {"userId": "1"}))
        assert set(caught.value.fields) == {"event"}


class TestJitsuSdkJs:
    """`@jitsu/sdk-js`."""

    DATA = {  # noqa: RUF012 - never changed
        "src": "jitsu",
        "local_tz_offset": "0",
        "url": "https://shop.example/p?utm_source=mail",
        "user.email": "ann@example.com",
        "utm.source": "mail",
        "total": "19.99",
        "items": '[{"sku":"mug-7"}]',
        "ship.to.city": "Bonn",
    }

    @pytest.mark.parametrize("route", ["/api/v1/event", "/api/v1/s2s/event"])
    def test_an_array_of_events_is_read(self, route: str) -> None:
        parsed = parse_old([OLD, {**OLD, "event_type": "user_identify"}], route=route)
        purchase, identify = to_events(parsed)
        assert (purchase["type"], identify["type"]) == ("purchase", "user_identify")
        for event in (purchase, identify):
            assert (event["userId"], event["anonymousId"]) == ("123", "d4tfv2")
            assert event["occurredAt"] == datetime(2026, 3, 1, 11, 59, 50, 590000, tzinfo=UTC)
            assert event["data"] == self.DATA
        assert to_response(parsed) == {"ok": True}

    def test_a_single_event_is_read(self) -> None:
        (event,) = to_events(parse_old(OLD))
        assert event["data"] == self.DATA

    def test_compatibility_mode_is_read(self) -> None:
        (event,) = to_events(parse_old([{"eventn_ctx": CONTEXT, **EVENT_FIELDS}]))
        assert (event["type"], event["userId"], event["anonymousId"]) == (
            "purchase",
            "123",
            "d4tfv2",
        )
        assert event["occurredAt"] == parse_old_event()["occurredAt"]
        assert event["data"] == self.DATA

    def test_ids_are_read(self) -> None:
        assert parse_old_event(user={"anonymous_id": "", "id": 123})["anonymousId"] is None
        assert parse_old_event(user={"anonymous_id": "d4tfv2"})["userId"] is None
        for missing in ({"anonymous_id": ""}, {}, None):
            (refused,) = to_results(parse_old([{**OLD, "user": missing}]))
            assert isinstance(refused, HttpError)
            assert set(refused.fields) == {"userId", "anonymousId"}

    @pytest.mark.parametrize(
        ("query", "event", "key"),
        [
            (b"token=KEY", {"api_key": "OTHER"}, "KEY"),
            (b"token=KEY&cookie_policy=comply&ip_policy=strict", {}, "KEY"),
            (b"p_a1b2c=KEY&cookie_policy=comply", {}, "KEY"),
            (b"", {"api_key": "KEY"}, "KEY"),
            (b"", {"api_key": 7}, None),
            (b"", {}, None),
        ],
    )
    def test_the_key_is_in_the_query_or_the_event(
        self, query: bytes, event: dict[str, Any], key: str | None
    ) -> None:
        assert parse_old([event], query).api_key == key
        assert parse_old(event, query).api_key == key

    def test_a_body_without_events_has_no_key(self) -> None:
        assert parse_old([], b"").api_key is None
        assert parse_old([7], b"").api_key is None

    def test_a_random_path_is_read(self) -> None:
        assert to_events(parse_old([OLD], b"p_a=KEY", "/api.*")) == to_events(parse_old([OLD]))

    def test_the_key_is_not_stored_as_data(self) -> None:
        assert "KEY" not in parse_old_event()["data"].values()

    @pytest.mark.parametrize("event_id", ["", None, "e-1"])
    def test_a_repeated_event_is_the_same_event(self, event_id: str | None) -> None:
        """Also in another batch: after a failure, a client adds newer events."""
        event = {**OLD, "event_id": event_id}
        other = {**OLD, "event_id": event_id and "e-2", "total": 20}
        (first,) = to_events(parse_old([event]))
        new, repeated = to_events(parse_old([other, event]))
        assert repeated["guid"] == first["guid"] != new["guid"]

    def test_equal_events_of_the_same_time_are_separate_events(self) -> None:
        guids = [event["guid"] for event in to_events(parse_old([OLD, OLD, OLD]))]
        assert len(set(guids)) == 3
        assert [event["guid"] for event in to_events(parse_old([OLD, OLD, OLD]))] == guids

    @pytest.mark.parametrize(
        ("event", "field"),
        [
            ({**OLD, "event_type": None}, "type"),
            ({**OLD, "user": "ann"}, "user"),
            ({**OLD, "eventn_ctx": []}, "eventn_ctx"),
            ({**OLD, "utc_time": "yesterday"}, "occurredAt"),
            ({**OLD, **{f"k{n}": n for n in range(300)}}, "data"),
            ({**OLD, "total": float("nan")}, "event"),
            ("text", "event"),
        ],
    )
    def test_a_bad_event_does_not_affect_other_events(self, event: object, field: str) -> None:
        parsed = parse_old([OLD, event])
        accepted, refused = to_results(parsed)
        assert not isinstance(accepted, HttpError)
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {field}
        answer = to_response(parsed)
        assert answer["ok"] is True
        assert [entry["index"] for entry in answer["rejected"]] == [1]

    def test_invalid_json_is_malformed(self) -> None:
        with pytest.raises(HttpError) as caught:
            ROUTES["POST /api/v1/event"](Request(b"["))
        assert caught.value.kind is ErrorKind.MALFORMED

    def test_flattened_keys_do_not_make_an_event_too_large(self) -> None:
        many = {f"k{n}": {f"l{m}": m for m in range(30)} for n in range(200)}
        event = parse_old_event(**many)
        assert len(event["data"]) <= 256
        assert json.loads(event["data"]["k199"]) == {f"l{m}": m for m in range(30)}


async def test_events_sent_over_http_are_published(shared: System, gateway: Gateway) -> None:
    body = json.dumps({**TRACK, "properties": {"mark": "jitsu"}}).encode()
    page = {"origin": "https://shop.example", "content-type": "application/json"}
    key = {"x-write-key": f"id:{gateway.key}"}
    preflight = await gateway.request(
        "OPTIONS",
        "/api/s/track",
        headers={**page, "access-control-request-headers": "content-type,x-write-key"},
    )
    assert "x-write-key" in preflight.headers["access-control-allow-headers"]
    answer = await gateway.request("POST", "/api/s/track", body, {**page, **key})
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert answer.headers["access-control-allow-origin"] == page["origin"]
    old_body = json.dumps([{**OLD, "mark": "jitsu"}]).encode()
    for path in (f"/api/v1/event?token={gateway.key}", f"/api.x1y2?p_z={gateway.key}"):
        answer = await gateway.request("POST", path, old_body, {"content-type": "text/plain"})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert len({event["guid"] for event in await read_published(shared, "jitsu")}) == 2

    for headers in ({}, {"x-write-key": f"{gateway.key}:other"}):
        body_key = {**TRACK, "writeKey": gateway.key}
        answer = await gateway.request(
            "POST", "/api/s/track", json.dumps(body_key).encode(), headers
        )
        assert answer.status_code == 401


async def test_the_events_become_the_right_profiles(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    key = {"x-write-key": f"id:{gateway.key}"}
    visitor = {"anonymousId": "laptop", "timestamp": "2026-03-01T12:00:00Z", "messageId": "m-1"}
    user = {**visitor, "userId": "123", "timestamp": "2026-03-01T12:00:01Z", "messageId": "m-2"}
    group = {**user, "groupId": "acme", "timestamp": "2026-03-01T12:00:02Z", "messageId": "m-3"}
    phone = {**OLD, "user": {"anonymous_id": "phone"}, "event_type": "pageview"}
    signed_in = {**OLD, "user": {"anonymous_id": "phone", "id": 123}, "event_type": "sign-in"}
    for _ in range(2):  # the second time changes nothing
        for path, body in [
            ("/api/s/page", visitor),
            ("/api/s/identify", user),
            ("/api/s/group", group),
            (f"/api/v1/event?token={gateway.key}", [phone, signed_in]),
        ]:
            answer = await gateway.request("POST", path, json.dumps(body).encode(), key)
            assert (answer.status_code, answer.json()) == (200, {"ok": True})
    await gateway.tracked(type="last", userId="123")
    await eventually(lambda: system.database.count("events"), equals(6))
    assert await system.database.grouping() == {
        frozenset({"page", "identify", "group", "pageview", "sign-in", "last"})
    }
