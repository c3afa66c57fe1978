"""Segment's dialect: bodies as the real packages send them, and what comes of them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dialects import ParsedRequest, StaticResponse
from ingest.dialects.segment import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from schemas.event import Event
from tests.ingest.dialect import NOW, events, make_request, response_to, results

PYTHON = {"library": {"name": "analytics-python", "version": "2.4.0"}}
NODE = {"library": {"name": "@segment/analytics-node", "version": "3.1.0"}}

PYTHON_BATCH: dict[str, Any] = {
    "batch": [
        {
            "integrations": {},
            "anonymousId": "anon_1",
            "properties": {"url": "https://shop.example/mugs"},
            "timestamp": "2026-03-01T11:00:00.160+00:00",
            "category": "Shop",
            "context": PYTHON,
            "userId": None,
            "type": "page",
            "name": "Mugs",
            "messageId": "m-1",
        },
        {
            "integrations": {},
            "anonymousId": "anon_1",
            "timestamp": "2026-03-01T11:00:01.161+00:00",
            "context": PYTHON,
            "type": "identify",
            "userId": "123",
            "traits": {"email": "a@example.com", "address": {"city": "Bonn"}, "age": None},
            "messageId": "m-2",
        },
        {
            "integrations": {},
            "anonymousId": None,
            "properties": {
                "total": 19.99,
                "items": [{"sku": "mug-7"}],
                "coupon": None,
                "ship": {"city": "Bonn"},
            },
            "timestamp": "2026-03-01T11:00:02.161+00:00",
            "context": {"ip": "192.0.2.7", **PYTHON},
            "userId": "123",
            "type": "track",
            "event": "purchase",
            "messageId": "m-3",
        },
        {
            "integrations": {},
            "anonymousId": None,
            "timestamp": "2026-03-01T11:00:03.161+00:00",
            "groupId": "g1",
            "context": PYTHON,
            "userId": "123",
            "traits": {"plan": "pro"},
            "type": "group",
            "messageId": "m-4",
        },
        {
            "integrations": {},
            "previousId": "anon_0",
            "timestamp": "2026-03-01T11:00:04.161+00:00",
            "context": PYTHON,
            "userId": "123",
            "type": "alias",
            "messageId": "m-5",
            "anonymousId": None,
        },
        {
            "integrations": {},
            "anonymousId": None,
            "properties": {},
            "timestamp": "2026-03-01T11:00:05.161+00:00",
            "category": None,
            "context": PYTHON,
            "userId": "123",
            "type": "screen",
            "name": "Cart",
            "messageId": "m-6",
        },
    ],
    "sentAt": "2026-03-01T12:00:00.000000+00:00",
    "writeKey": "KEY",
}
LIBRARY = {
    "context.library.name": "analytics-python",
    "context.library.version": "2.4.0",
}

BROWSER_TRACK: dict[str, Any] = {
    "timestamp": "2026-03-01T11:59:58.000Z",
    "integrations": {},
    "userId": "123",
    "anonymousId": "b1d7",
    "event": "Order Completed",
    "type": "track",
    "properties": {"total": 19.990, "products": [{"sku": "mug-7", "quantity": 2}]},
    "context": {
        "page": {
            "path": "/thanks",
            "referrer": "",
            "search": "?q=1",
            "title": "Thanks",
            "url": "https://shop.example/thanks?q=1",
        },
        "userAgent": "Mozilla/5.0",
        "userAgentData": {
            "brands": [{"brand": "Chromium", "version": "141"}],
            "mobile": False,
            "platform": "Linux",
        },
        "locale": "en-US",
        "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
        "timezone": "Europe/Berlin",
        "campaign": {"name": "spring", "source": "news"},
    },
    "messageId": "ajs-next-1-2",
    "writeKey": "KEY",
    "sentAt": "2026-03-01T12:00:00.000Z",
    "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": []},
}


def said(route: str, body: Any) -> ParsedRequest:
    found = ROUTES[route](make_request(body))
    assert isinstance(found, ParsedRequest)
    return found


def batch(*calls: Any, **fields: Any) -> ParsedRequest:
    return said("POST /v1/batch", {"batch": list(calls), **fields})


def one(kind: str, **fields: Any) -> Event:
    (event,) = events(said(f"POST /v1/{kind}", {"userId": "1", **fields}))
    return event


def refused(of: ParsedRequest) -> HttpError:
    (result,) = results(of)
    assert isinstance(result, HttpError)
    with pytest.raises(HttpError) as caught:
        response_to(of)
    assert caught.value is not None
    assert caught.value.message == result.message
    return result


def test_its_paths() -> None:
    kinds = ["track", "identify", "page", "screen", "group", "alias", "batch", "import"]
    assert set(ROUTES) == {
        *(f"POST /v1/{kind}" for kind in kinds),
        *(f"POST /v1/{letter}" for letter in "tipsgab"),
        *(f"POST /{letter}" for letter in "tipgab"),
        "GET /v1/projects/*/settings",
        "GET /projects/*/settings",
    }


def test_a_batch_of_the_python_package() -> None:
    batch = said("POST /v1/batch", PYTHON_BATCH)
    assert batch.api_key == "KEY"
    stored = events(batch)
    assert [(e["type"], e["userId"], e["anonymousId"]) for e in stored] == [
        ("page", None, "anon_1"),
        ("identify", "123", "anon_1"),
        ("purchase", "123", None),
        ("group", "123", None),
        ("alias", "123", "anon_0"),
        ("screen", "123", None),
    ]
    assert [e["data"] for e in stored] == [
        {"url": "https://shop.example/mugs", "name": "Mugs", "category": "Shop", **LIBRARY},
        {"traits.email": "a@example.com", "traits.address.city": "Bonn", **LIBRARY},
        {
            "total": "19.99",
            "items": '[{"sku":"mug-7"}]',
            "ship": '{"city":"Bonn"}',
            "context.ip": "192.0.2.7",
            **LIBRARY,
        },
        {"groupId": "g1", "traits.plan": "pro", **LIBRARY},
        {"previousId": "anon_0", **LIBRARY},
        {"name": "Cart", **LIBRARY},
    ]
    assert [e["occurredAt"] for e in stored] == [
        datetime(2026, 3, 1, 11, 0, 0, 160000, tzinfo=UTC),
        *(datetime(2026, 3, 1, 11, 0, second, 161000, tzinfo=UTC) for second in range(1, 6)),
    ]
    assert [e["ipAddress"] for e in stored] == ["192.0.2.1"] * 6
    assert response_to(batch) == {"success": True}


def test_a_track_of_the_browser_package() -> None:
    said_ = said("POST /v1/t", BROWSER_TRACK)
    assert said_.api_key == "KEY"
    (event,) = events(said_)
    assert (event["type"], event["userId"], event["anonymousId"]) == (
        "Order Completed",
        "123",
        "b1d7",
    )
    assert event["occurredAt"] == datetime(2026, 3, 1, 11, 59, 58, tzinfo=UTC)
    assert event["data"] == {
        "total": "19.99",
        "products": '[{"sku":"mug-7","quantity":2}]',
        "context.page.path": "/thanks",
        "context.page.referrer": "",
        "context.page.search": "?q=1",
        "context.page.title": "Thanks",
        "context.page.url": "https://shop.example/thanks?q=1",
        "context.userAgent": "Mozilla/5.0",
        "context.userAgentData.brands": '[{"brand":"Chromium","version":"141"}]',
        "context.userAgentData.mobile": "false",
        "context.userAgentData.platform": "Linux",
        "context.locale": "en-US",
        "context.library.name": "analytics.js",
        "context.library.version": "npm:next-1.84.3",
        "context.timezone": "Europe/Berlin",
        "context.campaign.name": "spring",
        "context.campaign.source": "news",
    }
    assert response_to(said_) == {"success": True}


@pytest.mark.parametrize("path", ["POST /v1/b", "POST /b", "POST /v1/import"])
def test_a_batch_is_the_same_under_each_of_its_paths(path: str) -> None:
    assert events(said(path, PYTHON_BATCH)) == events(said("POST /v1/batch", PYTHON_BATCH))


@pytest.mark.parametrize("path", ["/v1/{kind}", "/v1/{letter}", "/{letter}"])
def test_a_call_is_the_same_alone_and_in_a_batch(path: str) -> None:
    """Alone it need not say what it is: its path does."""
    for call, expected in zip(
        PYTHON_BATCH["batch"], events(said("POST /v1/batch", PYTHON_BATCH)), strict=True
    ):
        kind = call["type"]
        route = "POST " + path.format(kind=kind, letter=kind[0])
        if route != "POST /s":
            nameless = {key: value for key, value in call.items() if key != "type"}
            (alone,) = events(said(route, nameless))
            assert alone == {**expected, "guid": alone["guid"]}


class TestIds:
    @pytest.mark.parametrize("user_id", [123, "123", 123.0])
    def test_numbers(self, user_id: object) -> None:
        (event,) = events(said("POST /v1/track", {"event": "e", "userId": user_id}))
        assert (event["userId"], event["anonymousId"]) == ("123", None)

    def test_an_empty_user_id_is_none(self) -> None:
        (event,) = events(
            said("POST /v1/track", {"event": "e", "userId": "", "anonymousId": "anon_1"})
        )
        assert (event["userId"], event["anonymousId"]) == (None, "anon_1")

    def test_nobody_is_refused(self) -> None:
        for call in ({}, {"userId": None, "anonymousId": None}, {"userId": "undefined"}):
            assert set(refused(batch({"type": "track", "event": "e", **call})).fields) == {
                "userId",
                "anonymousId",
            }


class TestAlias:
    def test_links_the_visitor_of_the_previous_id(self) -> None:
        event = one("alias", userId="123", previousId="anon_1", anonymousId="device_1")
        assert (event["type"], event["userId"], event["anonymousId"]) == ("alias", "123", "anon_1")
        assert event["data"] == {"previousId": "anon_1", "anonymousId": "device_1"}

    @pytest.mark.parametrize("previous", [{}, {"previousId": None}, {"previousId": ""}])
    def test_or_else_of_the_anonymous_id(self, previous: dict[str, Any]) -> None:
        event = one("alias", userId="123", anonymousId="anon_1", **previous)
        assert (event["userId"], event["anonymousId"]) == ("123", "anon_1")
        assert not event["data"].get("anonymousId")

    def test_a_number(self) -> None:
        assert one("alias", userId="123", previousId=7)["anonymousId"] == "7"


class TestGroup:
    def test_says_nothing_of_who_is_who(self) -> None:
        event = one("group", groupId=7, traits={"plan": {"name": "pro"}})
        assert (event["type"], event["userId"], event["anonymousId"]) == ("group", "1", None)
        assert event["data"] == {"groupId": "7", "traits.plan.name": "pro"}

    def test_traits_in_its_context_are_the_user_s(self) -> None:
        event = one("group", groupId="g", traits={"plan": "pro"}, context={"traits": {"a": 1}})
        assert event["data"] == {"groupId": "g", "traits.plan": "pro", "context.traits.a": "1"}


class TestPage:
    def test_name_and_category_win_over_properties(self) -> None:
        event = one("page", name="Mugs", category="Shop", properties={"name": "x", "path": "/"})
        assert event["data"] == {"name": "Mugs", "category": "Shop", "path": "/"}

    @pytest.mark.parametrize("absent", [{}, {"name": None}, {"name": ""}])
    def test_but_not_if_they_are_absent(self, absent: dict[str, Any]) -> None:
        assert one("page", properties={"name": "x"}, **absent)["data"] == {"name": "x"}


class TestIdentify:
    def test_traits_are_in_either_place(self) -> None:
        event = one(
            "identify",
            traits={"email": "new@example.com"},
            context={"traits": {"email": "old@example.com", "vip": True}, "ip": "192.0.2.7"},
        )
        assert event["data"] == {
            "traits.email": "new@example.com",
            "traits.vip": "true",
            "context.ip": "192.0.2.7",
        }

    def test_without_traits(self) -> None:
        assert one("identify")["data"] == {}
        assert one("identify", traits=None, context={"traits": None})["data"] == {}


class TestTime:
    def test_the_client_s_clock_is_corrected(self) -> None:
        """It runs ten minutes late: an event of five seconds ago is one of five seconds ago."""
        late = {"timestamp": "2026-03-01T11:49:55Z", "sentAt": "2026-03-01T11:50:00Z"}
        assert one("track", event="e", **late)["occurredAt"] == datetime(
            2026, 3, 1, 11, 59, 55, tzinfo=UTC
        )

    def test_by_when_the_batch_was_sent(self) -> None:
        """A client that sends a batch again may renew only that."""
        call = {
            "type": "track",
            "event": "e",
            "userId": "1",
            "originalTimestamp": "2026-03-01T11:00:00Z",
            "sentAt": "2026-03-01T11:00:01Z",
        }
        (renewed,) = events(batch(call, sentAt="2026-03-01T12:00:00Z"))
        assert renewed["occurredAt"] == datetime(2026, 3, 1, 11, tzinfo=UTC)
        (own,) = events(batch(call))
        assert own["occurredAt"] == datetime(2026, 3, 1, 11, 59, 59, tzinfo=UTC)

    def test_timestamp_before_original_timestamp(self) -> None:
        first, second = "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"
        both = one("track", event="e", timestamp=first, originalTimestamp=second)
        assert both["occurredAt"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
        original = one("track", event="e", originalTimestamp=second)
        assert original["occurredAt"] == datetime(2026, 3, 1, 11, tzinfo=UTC)

    def test_none(self) -> None:
        assert one("track", event="e")["occurredAt"] == NOW

    def test_one_that_cannot_be_read(self) -> None:
        late = batch({"type": "track", "event": "e", "userId": "1", "timestamp": "yesterday"})
        assert set(refused(late).fields) == {"occurredAt"}


def test_a_message_sent_again_is_the_same_event() -> None:
    call = {"type": "track", "event": "e", "userId": "1", "messageId": "m", "timestamp": "2026"}
    first, again, other = (
        events(batch(call | changed, sentAt=sent))[0]["guid"]
        for changed, sent in [({}, "2027"), ({}, "2028"), ({"messageId": "n"}, "2027")]
    )
    assert first == again != other


def test_context_of_the_batch_is_each_event_s() -> None:
    calls = [
        {"type": "track", "event": "e", "userId": "1", **own}
        for own in ({}, {"context": {"ip": "192.0.2.9"}})
    ]
    first, second = events(batch(*calls, context={"ip": "192.0.2.7", "app": {"name": "shop"}}))
    assert first["data"] == {"context.ip": "192.0.2.7", "context.app.name": "shop"}
    assert second["data"] == {"context.ip": "192.0.2.9", "context.app.name": "shop"}
    odd = {"type": "track", "event": "e", "userId": "1", "context": "web"}
    assert events(batch(odd, context={"ip": "x"}))[0]["data"] == {"context": "web"}
    assert events(batch(odd | {"context": None}, context="web"))[0]["data"] == {}


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
@pytest.mark.parametrize(
    "context",
    [
        pytest.param({f"k{n}": n for n in range(1000)}, id="many keys"),
        pytest.param({"a": {f"k{n}": n for n in range(1000)}}, id="many keys within"),
        pytest.param({f"k{n}": {f"l{m}": m for m in range(30)} for n in range(30)}, id="bushy"),
        pytest.param("web", id="no object"),
        pytest.param(None, id="null"),
    ],
)
def test_no_event_is_refused_for_its_context(kind: str, context: object) -> None:
    data = {str(n): n for n in range(200)}
    one(kind, event="e", properties=data, traits=data, context=context)


class TestKey:
    def test_of_the_batch_or_of_an_event(self) -> None:
        assert batch({"writeKey": "another"}, writeKey="k").api_key == "k"
        assert batch("x", {}, {"writeKey": "k"}, writeKey="").api_key == "k"
        assert said("POST /v1/track", {"event": "e", "writeKey": "k"}).api_key == "k"

    @pytest.mark.parametrize("key", [None, 1, {}, ["k"]])
    def test_is_a_string(self, key: object) -> None:
        assert batch({"writeKey": key}, writeKey=key).api_key is None
        assert said("POST /v1/track", {"event": "e", "writeKey": key}).api_key is None


class TestRefusals:
    @pytest.mark.parametrize("body", [None, [], "text", 1, True])
    @pytest.mark.parametrize("route", ["POST /v1/batch", "POST /v1/track"])
    def test_a_body_is_an_object(self, route: str, body: object) -> None:
        with pytest.raises(HttpError) as caught:
            said(route, body)
        assert caught.value.kind is ErrorKind.MALFORMED

    @pytest.mark.parametrize("body", [{}, {"batch": None}, {"batch": {}}, {"batch": "text"}])
    def test_a_batch_is_a_list(self, body: object) -> None:
        with pytest.raises(HttpError) as caught:
            said("POST /v1/batch", body)
        assert set(caught.value.fields) == {"batch"}

    @pytest.mark.parametrize("kind", [None, "", "Track", "merge", 1, {}, ["track"]])
    def test_a_call_of_a_batch_says_what_it_is(self, kind: object) -> None:
        why = refused(batch({"type": kind, "event": "e", "userId": "1"}))
        assert why.message == "type: must be one of track, identify, page, screen, group, alias"
        assert set(why.fields) == {"type"}

    @pytest.mark.parametrize("name", [None, "", 1, {}])
    def test_a_track_call_has_a_name(self, name: object) -> None:
        why = refused(batch({"type": "track", "event": name, "userId": "1"}))
        assert set(why.fields) == {"event"}

    @pytest.mark.parametrize(
        ("kind", "field"),
        [
            ("track", "properties"),
            ("page", "properties"),
            ("screen", "properties"),
            ("identify", "traits"),
            ("group", "traits"),
        ],
    )
    def test_properties_and_traits_are_objects(self, kind: str, field: str) -> None:
        why = refused(batch({"type": kind, "event": "e", "userId": "1", field: ["x"]}))
        assert set(why.fields) == {field}

    def test_a_bad_event_costs_no_other(self) -> None:
        good = {"type": "track", "event": "e", "userId": "1"}
        mixed = batch(good, {"type": "merge"}, "text", good | {"userId": None}, good)
        stored = results(mixed)
        assert [isinstance(result, HttpError) for result in stored] == [
            False,
            True,
            True,
            True,
            False,
        ]
        answer = response_to(mixed)
        assert answer["success"] is True
        assert [entry["index"] for entry in answer["rejected"]] == [1, 2, 3]
        assert answer["rejected"][0]["error"]["fields"].keys() == {"type"}

    def test_an_empty_batch_is_a_success(self) -> None:
        assert response_to(batch()) == {"success": True}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
FIELDS = ["type", "event", "properties", "traits", "context", "name", "category", "groupId"]
FIELDS += ["previousId", "userId", "anonymousId", "timestamp", "sentAt", "messageId", "writeKey"]
CALLS = st.dictionaries(st.sampled_from(FIELDS), JSON)


@given(st.lists(CALLS | JSON, max_size=4), JSON, JSON, st.sampled_from(["track", "identify"]))
def test_whatever_comes_is_stored_or_refused(
    calls: list[Any], context: object, sent: object, kind: str
) -> None:
    calls = [{"type": kind, **call} if isinstance(call, dict) else call for call in calls]
    results(batch(*calls, context=context, sentAt=sent))


class TestSettings:
    def told(self, key: str = "KEY", **headers: str) -> Any:
        found = ROUTES["GET /v1/projects/*/settings"](
            Request(
                parts=[key],
                headers={
                    name.replace("_", "-").encode(): value.encode()
                    for name, value in headers.items()
                },
            )
        )
        assert isinstance(found, StaticResponse)
        return found.response

    def test_clients_send_here_and_nothing_of_their_own(self) -> None:
        assert self.told(host="events.example.com:8080") == {
            "integrations": {
                "Segment.io": {
                    "apiKey": "KEY",
                    "apiHost": "events.example.com:8080/v1",
                    "protocol": "http",
                }
            },
            "metrics": {"sampleRate": 0},
        }

    @pytest.mark.parametrize(
        ("headers", "protocol"),
        [
            ({}, "http"),
            ({"x_forwarded_proto": "https"}, "https"),
            ({"x_forwarded_proto": "http"}, "http"),
            ({"x_forwarded_proto": "https, http"}, "https"),
            ({"origin": "https://shop.example"}, "https"),
            ({"origin": "http://shop.example"}, "http"),
            ({"origin": "http://shop.example", "x_forwarded_proto": "https"}, "https"),
        ],
    )
    def test_the_way_they_came(self, headers: dict[str, str], protocol: str) -> None:
        told = self.told(host="events.example.com", **headers)
        assert told["integrations"]["Segment.io"]["protocol"] == protocol

    def test_without_a_host_they_know_best(self) -> None:
        assert self.told()["integrations"] == {"Segment.io": {"apiKey": "KEY"}}
