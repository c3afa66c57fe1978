"""Segment's dialect: requests of the real packages, and the events that they become."""

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
from tests.ingest.dialect import NOW, make_request, to_events, to_response, to_results

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


def parse(route: str, body: Any) -> ParsedRequest:
    found = ROUTES[route](make_request(body))
    assert isinstance(found, ParsedRequest)
    return found


def parse_batch(*calls: Any, **fields: Any) -> ParsedRequest:
    return parse("POST /v1/batch", {"batch": list(calls), **fields})


def parse_call(kind: str, **fields: Any) -> Event:
    (event,) = to_events(parse(f"POST /v1/{kind}", {"userId": "1", **fields}))
    return event


def parse_refused(parsed: ParsedRequest) -> HttpError:
    (result,) = to_results(parsed)
    assert isinstance(result, HttpError)
    with pytest.raises(HttpError) as caught:
        to_response(parsed)
    assert caught.value is not None
    assert caught.value.message == result.message
    return result


def test_the_routes_of_the_dialect() -> None:
    kinds = ["track", "identify", "page", "screen", "group", "alias", "batch", "import"]
    assert set(ROUTES) == {
        *(f"POST /v1/{kind}" for kind in kinds),
        *(f"POST /v1/{letter}" for letter in "tipsgab"),
        *(f"POST /{letter}" for letter in "tipgab"),
        "GET /v1/projects/*/settings",
        "GET /projects/*/settings",
    }


def test_a_batch_of_the_python_package_is_read() -> None:
    parsed = parse("POST /v1/batch", PYTHON_BATCH)
    assert parsed.api_key == "KEY"
    stored = to_events(parsed)
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
    assert to_response(parsed) == {"success": True}


def test_a_track_call_of_the_browser_package_is_read() -> None:
    parsed = parse("POST /v1/t", BROWSER_TRACK)
    assert parsed.api_key == "KEY"
    (event,) = to_events(parsed)
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
    assert to_response(parsed) == {"success": True}


@pytest.mark.parametrize("path", ["POST /v1/b", "POST /b", "POST /v1/import"])
def test_a_batch_is_the_same_under_each_of_its_paths(path: str) -> None:
    assert to_events(parse(path, PYTHON_BATCH)) == to_events(parse("POST /v1/batch", PYTHON_BATCH))


@pytest.mark.parametrize("path", ["/v1/{kind}", "/v1/{letter}", "/{letter}"])
def test_a_call_is_the_same_alone_and_in_a_batch(path: str) -> None:
    """Alone it needs no type, as its path names it."""
    for call, expected in zip(
        PYTHON_BATCH["batch"], to_events(parse("POST /v1/batch", PYTHON_BATCH)), strict=True
    ):
        kind = call["type"]
        route = "POST " + path.format(kind=kind, letter=kind[0])
        if route != "POST /s":
            nameless = {key: value for key, value in call.items() if key != "type"}
            (alone,) = to_events(parse(route, nameless))
            assert alone == {**expected, "guid": alone["guid"]}


class TestIds:
    @pytest.mark.parametrize("user_id", [123, "123", 123.0])
    def test_ids_can_be_numbers(self, user_id: object) -> None:
        (event,) = to_events(parse("POST /v1/track", {"event": "e", "userId": user_id}))
        assert (event["userId"], event["anonymousId"]) == ("123", None)

    def test_an_empty_user_id_is_ignored(self) -> None:
        (event,) = to_events(
            parse("POST /v1/track", {"event": "e", "userId": "", "anonymousId": "anon_1"})
        )
        assert (event["userId"], event["anonymousId"]) == (None, "anon_1")

    def test_a_call_without_an_id_is_refused(self) -> None:
        for call in ({}, {"userId": None, "anonymousId": None}, {"userId": "undefined"}):
            assert set(
                parse_refused(parse_batch({"type": "track", "event": "e", **call})).fields
            ) == {
                "userId",
                "anonymousId",
            }


class TestAlias:
    def test_alias_links_the_previous_id(self) -> None:
        event = parse_call("alias", userId="123", previousId="anon_1", anonymousId="device_1")
        assert (event["type"], event["userId"], event["anonymousId"]) == ("alias", "123", "anon_1")
        assert event["data"] == {"previousId": "anon_1", "anonymousId": "device_1"}

    @pytest.mark.parametrize("previous", [{}, {"previousId": None}, {"previousId": ""}])
    def test_alias_links_the_anonymous_id_without_a_previous_id(
        self, previous: dict[str, Any]
    ) -> None:
        event = parse_call("alias", userId="123", anonymousId="anon_1", **previous)
        assert (event["userId"], event["anonymousId"]) == ("123", "anon_1")
        assert not event["data"].get("anonymousId")

    def test_an_id_can_be_a_number(self) -> None:
        assert parse_call("alias", userId="123", previousId=7)["anonymousId"] == "7"


class TestGroup:
    def test_group_has_no_effect_on_identity(self) -> None:
        event = parse_call("group", groupId=7, traits={"plan": {"name": "pro"}})
        assert (event["type"], event["userId"], event["anonymousId"]) == ("group", "1", None)
        assert event["data"] == {"groupId": "7", "traits.plan.name": "pro"}

    def test_traits_in_the_context_of_group_are_of_the_user(self) -> None:
        event = parse_call(
            "group", groupId="g", traits={"plan": "pro"}, context={"traits": {"a": 1}}
        )
        assert event["data"] == {"groupId": "g", "traits.plan": "pro", "context.traits.a": "1"}


class TestPage:
    def test_name_and_category_win_over_properties(self) -> None:
        event = parse_call(
            "page", name="Mugs", category="Shop", properties={"name": "x", "path": "/"}
        )
        assert event["data"] == {"name": "Mugs", "category": "Shop", "path": "/"}

    @pytest.mark.parametrize("absent", [{}, {"name": None}, {"name": ""}])
    def test_a_missing_name_does_not_replace_the_property(self, absent: dict[str, Any]) -> None:
        assert parse_call("page", properties={"name": "x"}, **absent)["data"] == {"name": "x"}


class TestIdentify:
    def test_traits_are_read_from_the_call_and_its_context(self) -> None:
        event = parse_call(
            "identify",
            traits={"email": "new@example.com"},
            context={"traits": {"email": "old@example.com", "vip": True}, "ip": "192.0.2.7"},
        )
        assert event["data"] == {
            "traits.email": "new@example.com",
            "traits.vip": "true",
            "context.ip": "192.0.2.7",
        }

    def test_identify_without_traits_has_no_data(self) -> None:
        assert parse_call("identify")["data"] == {}
        assert parse_call("identify", traits=None, context={"traits": None})["data"] == {}


class TestTime:
    def test_the_clock_of_the_client_is_corrected(self) -> None:
        """The clock is ten minutes late, and the event occurred five seconds ago."""
        late = {"timestamp": "2026-03-01T11:49:55Z", "sentAt": "2026-03-01T11:50:00Z"}
        assert parse_call("track", event="e", **late)["occurredAt"] == datetime(
            2026, 3, 1, 11, 59, 55, tzinfo=UTC
        )

    def test_the_send_time_of_the_batch_wins(self) -> None:
        """A client that repeats a batch may update only the send time of the batch."""
        call = {
            "type": "track",
            "event": "e",
            "userId": "1",
            "originalTimestamp": "2026-03-01T11:00:00Z",
            "sentAt": "2026-03-01T11:00:01Z",
        }
        (repeated,) = to_events(parse_batch(call, sentAt="2026-03-01T12:00:00Z"))
        assert repeated["occurredAt"] == datetime(2026, 3, 1, 11, tzinfo=UTC)
        (own,) = to_events(parse_batch(call))
        assert own["occurredAt"] == datetime(2026, 3, 1, 11, 59, 59, tzinfo=UTC)

    def test_timestamp_wins_over_original_timestamp(self) -> None:
        first, second = "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"
        both = parse_call("track", event="e", timestamp=first, originalTimestamp=second)
        assert both["occurredAt"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
        original = parse_call("track", event="e", originalTimestamp=second)
        assert original["occurredAt"] == datetime(2026, 3, 1, 11, tzinfo=UTC)

    def test_an_event_without_a_time_occurred_on_arrival(self) -> None:
        assert parse_call("track", event="e")["occurredAt"] == NOW

    def test_an_invalid_time_is_refused(self) -> None:
        late = parse_batch({"type": "track", "event": "e", "userId": "1", "timestamp": "yesterday"})
        assert set(parse_refused(late).fields) == {"occurredAt"}


def test_a_repeated_message_is_the_same_event() -> None:
    call = {"type": "track", "event": "e", "userId": "1", "messageId": "m", "timestamp": "2026"}
    first, again, other = (
        to_events(parse_batch(call | changed, sentAt=sent))[0]["guid"]
        for changed, sent in [({}, "2027"), ({}, "2028"), ({"messageId": "n"}, "2027")]
    )
    assert first == again != other


def test_the_context_of_a_batch_applies_to_its_events() -> None:
    calls = [
        {"type": "track", "event": "e", "userId": "1", **own}
        for own in ({}, {"context": {"ip": "192.0.2.9"}})
    ]
    first, second = to_events(
        parse_batch(*calls, context={"ip": "192.0.2.7", "app": {"name": "shop"}})
    )
    assert first["data"] == {"context.ip": "192.0.2.7", "context.app.name": "shop"}
    assert second["data"] == {"context.ip": "192.0.2.9", "context.app.name": "shop"}
    odd = {"type": "track", "event": "e", "userId": "1", "context": "web"}
    assert to_events(parse_batch(odd, context={"ip": "x"}))[0]["data"] == {"context": "web"}
    assert to_events(parse_batch(odd | {"context": None}, context="web"))[0]["data"] == {}


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
@pytest.mark.parametrize(
    "context",
    [
        pytest.param({f"k{n}": n for n in range(1000)}, id="many keys"),
        pytest.param({"a": {f"k{n}": n for n in range(1000)}}, id="many keys within"),
        pytest.param({f"k{n}": {f"l{m}": m for m in range(30)} for n in range(30)}, id="bushy"),
        pytest.param("web", id="not an object"),
        pytest.param(None, id="null"),
    ],
)
def test_no_event_is_refused_for_its_context(kind: str, context: object) -> None:
    data = {str(n): n for n in range(200)}
    parse_call(kind, event="e", properties=data, traits=data, context=context)


class TestKey:
    def test_the_key_is_in_the_batch_or_an_event(self) -> None:
        assert parse_batch({"writeKey": "another"}, writeKey="k").api_key == "k"
        assert parse_batch("x", {}, {"writeKey": "k"}, writeKey="").api_key == "k"
        assert parse("POST /v1/track", {"event": "e", "writeKey": "k"}).api_key == "k"

    @pytest.mark.parametrize("key", [None, 1, {}, ["k"]])
    def test_the_key_is_a_string(self, key: object) -> None:
        assert parse_batch({"writeKey": key}, writeKey=key).api_key is None
        assert parse("POST /v1/track", {"event": "e", "writeKey": key}).api_key is None


class TestRefusals:
    @pytest.mark.parametrize("body", [None, [], "text", 1, True])
    @pytest.mark.parametrize("route", ["POST /v1/batch", "POST /v1/track"])
    def test_a_body_is_an_object(self, route: str, body: object) -> None:
        with pytest.raises(HttpError) as caught:
            parse(route, body)
        assert caught.value.kind is ErrorKind.MALFORMED

    @pytest.mark.parametrize("body", [{}, {"batch": None}, {"batch": {}}, {"batch": "text"}])
    def test_a_batch_is_a_list(self, body: object) -> None:
        with pytest.raises(HttpError) as caught:
            parse("POST /v1/batch", body)
        assert set(caught.value.fields) == {"batch"}

    @pytest.mark.parametrize("kind", [None, "", "Track", "merge", 1, {}, ["track"]])
    def test_a_call_of_a_batch_needs_a_type(self, kind: object) -> None:
        refusal = parse_refused(parse_batch({"type": kind, "event": "e", "userId": "1"}))
        assert refusal.message == "type: must be one of track, identify, page, screen, group, alias"
        assert set(refusal.fields) == {"type"}

    @pytest.mark.parametrize("name", [None, "", 1, {}])
    def test_a_track_call_needs_a_name(self, name: object) -> None:
        refusal = parse_refused(parse_batch({"type": "track", "event": name, "userId": "1"}))
        assert set(refusal.fields) == {"event"}

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
        refusal = parse_refused(
            parse_batch({"type": kind, "event": "e", "userId": "1", field: ["x"]})
        )
        assert set(refusal.fields) == {field}

    def test_a_bad_event_does_not_affect_other_events(self) -> None:
        good = {"type": "track", "event": "e", "userId": "1"}
        mixed = parse_batch(good, {"type": "merge"}, "text", good | {"userId": None}, good)
        stored = to_results(mixed)
        assert [isinstance(result, HttpError) for result in stored] == [
            False,
            True,
            True,
            True,
            False,
        ]
        answer = to_response(mixed)
        assert answer["success"] is True
        assert [entry["index"] for entry in answer["rejected"]] == [1, 2, 3]
        assert answer["rejected"][0]["error"]["fields"].keys() == {"type"}

    def test_an_empty_batch_is_a_success(self) -> None:
        assert to_response(parse_batch()) == {"success": True}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
FIELDS = ["type", "event", "properties", "traits", "context", "name", "category", "groupId"]
FIELDS += ["previousId", "userId", "anonymousId", "timestamp", "sentAt", "messageId", "writeKey"]
CALLS = st.dictionaries(st.sampled_from(FIELDS), JSON)


@given(st.lists(CALLS | JSON, max_size=4), JSON, JSON, st.sampled_from(["track", "identify"]))
def test_any_call_is_stored_or_refused(
    calls: list[Any], context: object, sent: object, kind: str
) -> None:
    calls = [{"type": kind, **call} if isinstance(call, dict) else call for call in calls]
    to_results(parse_batch(*calls, context=context, sentAt=sent))


class TestSettings:
    def read_settings(self, key: str = "KEY", **headers: str) -> Any:
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

    def test_settings_point_clients_to_this_gateway(self) -> None:
        assert self.read_settings(host="events.example.com:8080") == {
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
    def test_settings_have_the_protocol_of_the_request(
        self, headers: dict[str, str], protocol: str
    ) -> None:
        settings = self.read_settings(host="events.example.com", **headers)
        assert settings["integrations"]["Segment.io"]["protocol"] == protocol

    def test_settings_without_a_host_have_no_address(self) -> None:
        assert self.read_settings()["integrations"] == {"Segment.io": {"apiKey": "KEY"}}
