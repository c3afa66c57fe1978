"""Jitsu's two dialects: bodies as the real packages send them, and what comes of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.dialects import ParsedRequest
from ingest.dialects.jitsu import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from schemas.event import Event
from tests.ingest.dialect import NOW, events, make_request, response_to, results
from tests.ingest.test_dialects_http import published
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
SAID = {
    "api_key": "KEY",
    "src": "jitsu",
    "event_type": "purchase",
    "total": 19.990,
    "items": [{"sku": "mug-7"}],
    "ship": {"to": {"city": "Bonn"}, "by": None},
}
OLD = {**CONTEXT, **SAID}


def call(route: str, body: Any, key: bytes = b"id:KEY") -> ParsedRequest:
    found = ROUTES[f"POST {route}"](make_request(body, headers={b"x-write-key": key}))
    assert isinstance(found, ParsedRequest)
    return found


def old(body: Any, query: bytes = b"token=KEY", route: str = "/api/v1/event") -> ParsedRequest:
    found = ROUTES[f"POST {route}"](make_request(body, "x1y2", query=query))
    assert isinstance(found, ParsedRequest)
    return found


def one(**fields: Any) -> Event:
    (event,) = events(old([{**OLD, **fields}]))
    return event


def test_its_paths() -> None:
    assert set(ROUTES) == {
        *(f"POST /api/s/{kind}" for kind in KINDS),
        *(f"POST /api/s/s2s/{kind}" for kind in KINDS),
        "POST /api/v1/event",
        "POST /api/v1/s2s/event",
        "POST /api.*",
    }


class TestNew:
    """`@jitsu/js`."""

    @pytest.mark.parametrize("side", ["", "s2s/"])
    def test_identify_and_track(self, side: str) -> None:
        said = call(f"/api/s/{side}identify", IDENTIFY)
        (identify,) = events(said)
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
        assert response_to(said) == {"ok": True}

        (track,) = events(call(f"/api/s/{side}track", TRACK))
        assert track["type"] == "purchase"
        assert track["data"] == {"total": "19.99", "items": '[{"sku":"mug-7"}]', **context}

    @pytest.mark.parametrize("kind", KINDS)
    def test_its_path_says_what_it_is(self, kind: str) -> None:
        body = {"event": "purchase", "userId": "1"}
        (event,) = events(call(f"/api/s/{kind}", body))
        assert event["type"] == ("purchase" if kind == "track" else kind)

    def test_the_client_s_clock_is_corrected(self) -> None:
        late = {"timestamp": "2026-03-01T11:49:55Z", "sentAt": "2026-03-01T11:50:00Z"}
        (event,) = events(call("/api/s/track", {**TRACK, **late}))
        assert event["occurredAt"] == NOW - timedelta(seconds=5)

    def test_a_message_sent_again_is_the_same_event(self) -> None:
        first, again, other = (
            events(call("/api/s/track", {**TRACK, **changed}))[0]["guid"]
            for changed in ({}, {"sentAt": "2026-03-01T13:00:00Z"}, {"messageId": "other"})
        )
        assert first == again != other

    @pytest.mark.parametrize(
        ("header", "key"),
        [(b"id:KEY", "KEY"), (b"KEY", "KEY"), (b"id:KE:Y", "KE:Y"), (b"KEY:", "KEY"), (b"", "")],
    )
    def test_the_key_is_in_the_header(self, header: bytes, key: str) -> None:
        assert call("/api/s/track", {**TRACK, "writeKey": "OTHER"}, header).api_key == key

    def test_what_is_refused_is_told(self) -> None:
        with pytest.raises(HttpError) as caught:
            response_to(call("/api/s/track", {"userId": "1"}))
        assert set(caught.value.fields) == {"event"}


class TestOld:
    """`@jitsu/sdk-js`."""

    DATA = {  # noqa: RUF012 - nobody changes it
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
    def test_an_array_of_events(self, route: str) -> None:
        said = old([OLD, {**OLD, "event_type": "user_identify"}], route=route)
        purchase, identify = events(said)
        assert (purchase["type"], identify["type"]) == ("purchase", "user_identify")
        for event in (purchase, identify):
            assert (event["userId"], event["anonymousId"]) == ("123", "d4tfv2")
            assert event["occurredAt"] == datetime(2026, 3, 1, 11, 59, 50, 590000, tzinfo=UTC)
            assert event["data"] == self.DATA
        assert response_to(said) == {"ok": True}

    def test_an_event_alone(self) -> None:
        (event,) = events(old(OLD))
        assert event["data"] == self.DATA

    def test_compat_mode(self) -> None:
        (event,) = events(old([{"eventn_ctx": CONTEXT, **SAID}]))
        assert (event["type"], event["userId"], event["anonymousId"]) == (
            "purchase",
            "123",
            "d4tfv2",
        )
        assert event["occurredAt"] == one()["occurredAt"]
        assert event["data"] == self.DATA

    def test_ids(self) -> None:
        assert one(user={"anonymous_id": "", "id": 123})["anonymousId"] is None
        assert one(user={"anonymous_id": "d4tfv2"})["userId"] is None
        for nobody in ({"anonymous_id": ""}, {}, None):
            (refused,) = results(old([{**OLD, "user": nobody}]))
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
    def test_where_the_key_may_be(
        self, query: bytes, event: dict[str, Any], key: str | None
    ) -> None:
        assert old([event], query).api_key == key
        assert old(event, query).api_key == key

    def test_no_event_no_key(self) -> None:
        assert old([], b"").api_key is None
        assert old([7], b"").api_key is None

    def test_a_path_with_chance_in_it(self) -> None:
        assert events(old([OLD], b"p_a=KEY", "/api.*")) == events(old([OLD]))

    def test_the_key_is_no_data(self) -> None:
        assert "KEY" not in one()["data"].values()

    @pytest.mark.parametrize("event_id", ["", None, "e-1"])
    def test_an_event_sent_again_is_the_same_event(self, event_id: str | None) -> None:
        """Beside others too: a client that failed adds what came meanwhile."""
        event = {**OLD, "event_id": event_id}
        other = {**OLD, "event_id": event_id and "e-2", "total": 20}
        (first,) = events(old([event]))
        new, again = events(old([other, event]))
        assert again["guid"] == first["guid"] != new["guid"]

    def test_equal_events_of_one_moment_are_as_many(self) -> None:
        guids = [event["guid"] for event in events(old([OLD, OLD, OLD]))]
        assert len(set(guids)) == 3
        assert [event["guid"] for event in events(old([OLD, OLD, OLD]))] == guids

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
    def test_one_bad_event_costs_its_neighbours_nothing(self, event: object, field: str) -> None:
        said = old([OLD, event])
        kept, refused = results(said)
        assert not isinstance(kept, HttpError)
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {field}
        answer = response_to(said)
        assert answer["ok"] is True
        assert [told["index"] for told in answer["rejected"]] == [1]

    def test_what_is_no_json(self) -> None:
        with pytest.raises(HttpError) as caught:
            ROUTES["POST /api/v1/event"](Request(b"["))
        assert caught.value.kind is ErrorKind.MALFORMED

    def test_no_event_becomes_too_large_by_its_keys(self) -> None:
        many = {f"k{n}": {f"l{m}": m for m in range(30)} for n in range(200)}
        event = one(**many)
        assert len(event["data"]) <= 256
        assert json.loads(event["data"]["k199"]) == {f"l{m}": m for m in range(30)}


async def test_over_http(shared: System, gateway: Gateway) -> None:
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
    assert len({event["guid"] for event in await published(shared, "jitsu")}) == 2

    for headers in ({}, {"x-write-key": f"{gateway.key}:other"}):
        masked = {**TRACK, "writeKey": gateway.key}
        answer = await gateway.request("POST", "/api/s/track", json.dumps(masked).encode(), headers)
        assert answer.status_code == 401


async def test_who_is_who_then(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    key = {"x-write-key": f"id:{gateway.key}"}
    visitor = {"anonymousId": "laptop", "timestamp": "2026-03-01T12:00:00Z", "messageId": "m-1"}
    user = {**visitor, "userId": "123", "timestamp": "2026-03-01T12:00:01Z", "messageId": "m-2"}
    group = {**user, "groupId": "acme", "timestamp": "2026-03-01T12:00:02Z", "messageId": "m-3"}
    phone = {**OLD, "user": {"anonymous_id": "phone"}, "event_type": "pageview"}
    signed_in = {**OLD, "user": {"anonymous_id": "phone", "id": 123}, "event_type": "sign-in"}
    for _ in range(2):  # the second time it is nothing new
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
