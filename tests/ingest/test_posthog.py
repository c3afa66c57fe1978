"""PostHog's dialect: requests of the real packages, and the events that they become."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from ingest.body import unpack
from ingest.dialects import ParsedRequest, StaticResponse
from ingest.dialects.posthog import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from schemas.event import Event
from tests.ingest.dialect import NOW, make_request, to_events, to_response, to_results
from tests.ingest.test_dialects_http import read_published
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

DEVICE = "01a20fe9-71c8-7d6b-b265-946165194e3e"
AFTER_RESET = "01a20fe9-8768-7e90-8e1e-27c95dff1f8b"
PYTHON: dict[str, Any] = {"$lib": "posthog-python", "$lib_version": "7.91.1", "$is_server": True}
NODE: dict[str, Any] = {"$lib": "posthog-node", "$lib_version": "5.70.0", "$is_server": True}
WEB: dict[str, Any] = {
    "$lib": "web",
    "$lib_version": "1.449.2",
    "token": "KEY",
    "$device_id": DEVICE,
}
VISITOR: dict[str, Any] = {
    **WEB,
    "distinct_id": DEVICE,
    "$is_identified": False,
    "$process_person_profile": False,
}
USER: dict[str, Any] = {
    **WEB,
    "distinct_id": "123",
    "$user_id": "123",
    "$is_identified": True,
    "$process_person_profile": True,
}

PYTHON_BATCH: dict[str, Any] = {
    "batch": [
        {
            "properties": {"$process_person_profile": False, **PYTHON},
            "timestamp": "2026-03-01T11:00:00.653380+00:00",
            "distinct_id": "anon_1",
            "event": "page",
            "uuid": "4bf02367-6560-49f9-b487-fde528990d5c",
        },
        {
            "properties": {"total": 19.990, "$groups": {"company": "acme"}, **PYTHON},
            "timestamp": "2026-03-01T11:00:01.000000+00:00",
            "distinct_id": "123",
            "event": "purchase",
            "uuid": "0193e2f4-0000-7000-8000-000000000001",
        },
        {
            "timestamp": "2026-03-01T11:00:02.000000+00:00",
            "distinct_id": "123",
            "$set": {"name": "Ann", "address": {"city": "Bonn"}},
            "event": "$set",
            "properties": PYTHON,
            "uuid": "3b7ca97e-6298-4aa4-8471-b6eed79c2047",
        },
        {
            "properties": {"distinct_id": "anon_1", "alias": "123", **PYTHON},
            "timestamp": "2026-03-01T11:00:03.000000+00:00",
            "event": "$create_alias",
            "distinct_id": "anon_1",
            "uuid": "08700f76-5489-4ea7-a37d-fd0ca4700dfc",
        },
        {
            "event": "$groupidentify",
            "properties": {"$group_type": "company", "$group_key": "acme", **PYTHON},
            "distinct_id": "123",
            "timestamp": "2026-03-01T11:00:04.000000+00:00",
            "uuid": "4fd5ea00-32c7-478b-ac30-4733773a4e09",
        },
    ],
    "historical_migration": False,
    "sent_at": "2026-03-01T12:00:00.000000+00:00",
    "api_key": "KEY",
}

PAGE_VIEW: dict[str, Any] = {
    "uuid": "01a20fe9-71df-7d64-92eb-040837f7cb68",
    "event": "$pageview",
    "properties": {
        **VISITOR,
        "$browser_version": None,
        "$current_url": "https://shop.example/p",
        "$insert_id": "2dnj3efbyt9g9uiq",
        "$time": 1772366340.029,
    },
    "timestamp": "2026-03-01T11:59:00.007Z",
}
IDENTIFY: dict[str, Any] = {
    "uuid": "01a20fe9-77b8-726d-bc76-971436dcef9d",
    "event": "$identify",
    "properties": {**USER, "$anon_distinct_id": DEVICE},
    "$set": {"name": "Ann"},
    "$set_once": {"first": "x", "$initial_gclid": None},
    "timestamp": "2026-03-01T11:59:01.504Z",
}
BROWSER_BATCH = {
    "api_key": "KEY",
    "batch": [PAGE_VIEW, IDENTIFY],
    "sent_at": "2026-03-01T12:00:00.000Z",
}


def parse(body: Any, path: str = "batch", query: bytes = b"") -> ParsedRequest:
    return parse_request(make_request(body, query=query), path)


def parse_request(request: Request, path: str = "e") -> ParsedRequest:
    found = ROUTES[f"POST /{path}"](request)
    assert isinstance(found, ParsedRequest)
    return found


def parse_event(name: str = "e", properties: dict[str, Any] | None = None, **fields: Any) -> Event:
    (event,) = to_events(parse({"event": name, "properties": properties, **fields}))
    return event


def parse_ids(name: str = "e", **properties: Any) -> tuple[str | None, str | None]:
    event = parse_event(name, properties)
    return event["userId"], event["anonymousId"]


def test_the_routes_of_the_dialect() -> None:
    assert set(ROUTES) == {
        *(f"POST /{path}" for path in ("batch", "e", "i/v0/e", "capture", "track")),
        *(f"{method} /{path}" for method in ("GET", "POST") for path in ("flags", "decide")),
        "GET /array/*/config",
        "POST /s",
    }


def test_a_batch_of_the_python_package_is_read() -> None:
    batch = parse(PYTHON_BATCH)
    assert batch.api_key == "KEY"
    stored = to_events(batch)
    assert [(e["type"], e["userId"], e["anonymousId"]) for e in stored] == [
        ("page", None, "anon_1"),
        ("purchase", "123", None),
        ("$set", "123", None),
        ("$create_alias", "123", "anon_1"),
        ("$groupidentify", "123", None),
    ]
    library = {"$lib": "posthog-python", "$lib_version": "7.91.1", "$is_server": "true"}
    assert [e["data"] for e in stored] == [
        {"$process_person_profile": "false", **library},
        {"total": "19.99", "$groups": '{"company":"acme"}', **library},
        {"$set.name": "Ann", "$set.address.city": "Bonn", **library},
        {"alias": "123", **library},
        {"$group_type": "company", "$group_key": "acme", **library},
    ]
    assert [e["occurredAt"] for e in stored] == [
        datetime(2026, 3, 1, 11, 0, 0, 653380, tzinfo=UTC),
        *(datetime(2026, 3, 1, 11, 0, second, tzinfo=UTC) for second in range(1, 5)),
    ]
    assert to_response(batch) == {"status": 1}


def test_a_batch_of_a_browser_is_read() -> None:
    batch = parse(BROWSER_BATCH, "e")
    assert batch.api_key == "KEY"
    page, identify = to_events(batch)
    assert (page["type"], page["userId"], page["anonymousId"]) == ("$pageview", None, DEVICE)
    assert page["occurredAt"] == datetime(2026, 3, 1, 11, 59, 0, 7000, tzinfo=UTC)
    assert page["data"] == {
        "$lib": "web",
        "$lib_version": "1.449.2",
        "$device_id": DEVICE,
        "$is_identified": "false",
        "$process_person_profile": "false",
        "$current_url": "https://shop.example/p",
        "$insert_id": "2dnj3efbyt9g9uiq",
        "$time": "1772366340.029",
    }
    assert (identify["userId"], identify["anonymousId"]) == ("123", DEVICE)
    assert identify["data"]["$set.name"] == "Ann"
    assert identify["data"]["$set_once.first"] == "x"
    assert "$set_once.$initial_gclid" not in identify["data"]


@pytest.mark.parametrize("path", ["e", "i/v0/e", "capture", "track", "batch"])
def test_each_path_accepts_each_shape(path: str) -> None:
    expected = to_events(parse(BROWSER_BATCH))
    shapes = [
        BROWSER_BATCH,
        [{**event, "sent_at": BROWSER_BATCH["sent_at"]} for event in (PAGE_VIEW, IDENTIFY)],
    ]
    assert [to_events(parse(shape, path)) for shape in shapes] == [expected, expected]
    alone = parse({**PAGE_VIEW, "api_key": "KEY", "sent_at": BROWSER_BATCH["sent_at"]}, path)
    assert to_events(alone) == expected[:1]


class TestEncoding:
    TEXT = json.dumps(BROWSER_BATCH).encode()
    CODED = base64.b64encode(json.dumps([{**PAGE_VIEW, "u": "ÿþ?>~~~"}]).encode())

    def test_gzip_is_detected_by_its_first_bytes(self) -> None:
        """posthog-js sends it as text/plain."""
        body = unpack(gzip.compress(self.TEXT), 1 << 20)
        assert to_events(
            parse_request(Request(body, query_string=b"compression=gzip-js"))
        ) == to_events(parse(BROWSER_BATCH))

    @pytest.mark.parametrize("query", [b"", b"compression=base64", b"compression=base64&ver=1"])
    def test_a_form_with_base64_is_read(self, query: bytes) -> None:
        """posthog-js sends it when the user leaves a page."""
        form = b"data=" + quote(base64.b64encode(self.TEXT), safe="").encode()
        assert to_events(parse_request(Request(form, query_string=query))) == to_events(
            parse(BROWSER_BATCH)
        )
        assert to_events(parse_request(Request(form + b"&ip=1", query_string=query))) == to_events(
            parse(BROWSER_BATCH)
        )

    def test_a_form_with_json_is_read(self) -> None:
        form = b"data=" + quote(self.TEXT, safe="").encode()
        assert to_events(parse_request(Request(form))) == to_events(parse(BROWSER_BATCH))

    def test_base64_without_a_form_is_read(self) -> None:
        body = base64.b64encode(self.TEXT)
        assert to_events(
            parse_request(Request(body, query_string=b"compression=base64"))
        ) == to_events(parse(BROWSER_BATCH))

    def test_an_unescaped_plus_is_read(self) -> None:
        assert b"+" in self.CODED
        (event,) = to_events(parse_request(Request(b"data=" + self.CODED)))
        assert event["type"] == "$pageview"

    def test_base64_with_other_characters_is_refused(self) -> None:
        """Without those characters it could mean something else."""
        with pytest.raises(HttpError) as caught:
            parse_request(Request(b"data=" + self.CODED[:8] + b"    " + self.CODED[8:]))
        assert caught.value.message == "the body is neither JSON nor base64 of JSON"

    def test_json_is_read_even_if_the_url_says_base64(self) -> None:
        assert to_events(
            parse_request(Request(self.TEXT, query_string=b"compression=base64"))
        ) == to_events(parse(BROWSER_BATCH))

    @pytest.mark.parametrize(
        "body", [b"", b"text", b"{", b"data=", b"data=???", b"data=eA", b"data=eA==", b"\xff"]
    )
    @pytest.mark.parametrize("query", [b"", b"compression=base64"])
    def test_unreadable_input_is_refused(self, body: bytes, query: bytes) -> None:
        with pytest.raises(HttpError) as caught:
            parse_request(Request(body, query_string=query))
        assert caught.value.kind is ErrorKind.MALFORMED


class TestKey:
    @pytest.mark.parametrize(
        "body",
        [
            {"api_key": "KEY", "batch": []},
            {"token": "KEY", "batch": []},
            {"batch": [{"event": "e"}, {"properties": {"token": "KEY"}}]},
            {"batch": [{"event": "e", "api_key": "KEY"}]},
            {"event": "e", "token": "KEY"},
            {"event": "e", "properties": {"token": "KEY"}},
            [{"event": "e", "properties": {"token": "KEY"}}],
            {"api_key": 7, "token": "KEY", "batch": []},
            {"api_key": "", "token": "KEY", "batch": []},
            {"api_key": "", "batch": [{"token": "KEY"}]},
        ],
    )
    def test_the_key_can_be_in_several_places(self, body: object) -> None:
        assert parse(body).api_key == "KEY"

    @pytest.mark.parametrize("body", [{}, [], {"api_key": None}, {"properties": "KEY"}, [7]])
    def test_other_bodies_have_no_key(self, body: object) -> None:
        assert parse(body).api_key is None

    def test_the_key_is_not_stored_as_data(self) -> None:
        assert (
            parse_event(properties={"token": "KEY", "distinct_id": "1"}, api_key="KEY")["data"]
            == {}
        )


class TestDistinctId:
    def test_a_visitor_has_an_anonymous_id(self) -> None:
        assert parse_ids(**VISITOR) == (None, DEVICE)
        assert parse_ids(**VISITOR | {"$process_person_profile": True}) == (None, DEVICE)

    def test_a_visitor_has_a_new_anonymous_id_after_reset(self) -> None:
        """The device keeps its id and gets a new distinct_id."""
        assert parse_ids(**VISITOR | {"distinct_id": AFTER_RESET}) == (None, AFTER_RESET)

    def test_a_user_with_a_device_has_both_ids(self) -> None:
        assert parse_ids(**USER) == ("123", DEVICE)

    def test_a_user_without_person_profiles_has_both_ids(self) -> None:
        assert parse_ids(**USER | {"$process_person_profile": False}) == ("123", DEVICE)

    def test_ids_of_server_libraries_are_read(self) -> None:
        assert parse_ids(distinct_id="123", **PYTHON) == ("123", None)
        anonymous = {**NODE, "distinct_id": "anon", "$process_person_profile": False}
        assert parse_ids(**anonymous) == (None, "anon")
        device = {**PYTHON, "distinct_id": "dev", "$device_id": "dev"}
        assert parse_ids(**device) == (None, "dev")

    def test_an_id_can_be_a_number(self) -> None:
        assert parse_ids(distinct_id=123) == ("123", None)
        (event,) = to_events(parse({"event": "e", "distinct_id": 123}))
        assert event["userId"] == "123"

    def test_the_id_of_the_event_wins_over_its_properties(self) -> None:
        inner = {"distinct_id": "inner"}
        assert parse_event(properties=inner, distinct_id="outer")["userId"] == "outer"
        assert parse_event(properties=inner, distinct_id=None)["userId"] == "inner"

    def test_the_shared_id_of_cookieless_mode_is_ignored(self) -> None:
        """All visitors have the same id, so it must not link them."""
        shared_id = "$posthog_cookieless"
        cookieless = {"$device_id": None, "$cookieless_mode": True}
        page = {**VISITOR, **cookieless, "distinct_id": shared_id}
        identify = {**USER, **cookieless, "$anon_distinct_id": shared_id}
        alias = {**page, "alias": "123"}
        refused, *linking = to_results(
            parse([{"event": "$pageview", "properties": page}])
        ) + to_events(
            parse(
                [
                    {"event": "$identify", "properties": identify},
                    {"event": "$create_alias", "properties": alias},
                ]
            )
        )
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {"userId", "anonymousId"}
        for event in linking:
            assert not isinstance(event, HttpError)
            assert (event["userId"], event["anonymousId"]) == ("123", None)


class TestIdentify:
    def test_identify_links_both_ids(self) -> None:
        ids = {"distinct_id": "123", "$anon_distinct_id": "anon_9"}
        assert parse_ids("$identify", **ids, **NODE) == ("123", "anon_9")
        assert parse_ids("$identify", **ids, **WEB) == ("123", "anon_9")

    def test_identify_without_an_anonymous_id_has_a_user(self) -> None:
        assert parse_ids("$identify", distinct_id="123", **PYTHON) == ("123", None)
        assert parse_ids("$identify", **USER) == ("123", DEVICE)


class TestAlias:
    def test_alias_of_the_node_package_links(self) -> None:
        """`alias({distinctId: "123", alias: "anon_1"})`."""
        assert parse_ids("$create_alias", distinct_id="123", alias="anon_1", **NODE) == (
            "123",
            "anon_1",
        )

    def test_alias_of_the_python_package_links(self) -> None:
        """`alias(previous_id="anon_1", distinct_id="123")`."""
        ids = {"distinct_id": "anon_1", "alias": "123"}
        assert parse_ids("$create_alias", **ids, **PYTHON) == ("123", "anon_1")

    def test_alias_of_a_page_links(self) -> None:
        """`alias("123")`, and `alias("123", "anon_1")`."""
        assert parse_ids("$create_alias", **VISITOR, alias="123") == ("123", DEVICE)
        other = USER | {"distinct_id": "anon_1", "alias": "123"}
        assert parse_ids("$create_alias", **other) == ("123", "anon_1")

    def test_alias_of_an_identified_page_links(self) -> None:
        assert parse_ids("$create_alias", **USER, alias="other") == ("123", "other")

    @pytest.mark.parametrize("library", [PYTHON, NODE])
    def test_merge_dangerously_links(self, library: dict[str, Any]) -> None:
        ids = {"distinct_id": "123", "alias": "anon_1"}
        assert parse_ids("$merge_dangerously", **ids, **library) == ("123", "anon_1")


ACME: dict[str, Any] = {"$group_type": "company", "$group_key": "acme"}


class TestGroup:
    def test_a_group_call_of_a_user_has_its_ids(self) -> None:
        assert parse_ids("$groupidentify", **USER, **ACME) == ("123", DEVICE)
        assert parse_ids("$groupidentify", distinct_id="123", **NODE, **ACME) == ("123", None)

    @pytest.mark.parametrize(
        "generated",
        [
            {"distinct_id": "$company_acme", **NODE},
            {"distinct_id": "f434d52e-40f7-4bdd-831f-1da3543f48f4", **PYTHON},
        ],
        ids=["node", "python"],
    )
    def test_a_group_call_with_a_generated_id_is_refused(self, generated: dict[str, Any]) -> None:
        event = {"event": "$groupidentify", "properties": {**generated, **ACME}}
        (refused,) = to_results(parse([event]))
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {"userId", "anonymousId"}

    def test_ids_that_look_generated_are_accepted_elsewhere(self) -> None:
        uuid = "f434d52e-40f7-4bdd-831f-1da3543f48f4"
        assert parse_ids("$groupidentify", distinct_id=uuid, **NODE, **ACME) == (uuid, None)
        assert parse_ids("purchase", distinct_id=uuid, **PYTHON) == (uuid, None)


class TestTime:
    SENT = "2026-03-01T11:50:00Z"

    def test_the_clock_of_the_client_is_corrected(self) -> None:
        """The clock is ten minutes late, and the event occurred five seconds ago."""
        event = {"event": "e", "distinct_id": "1", "timestamp": "2026-03-01T11:49:55Z"}
        for body, query in [
            ({"batch": [event], "sent_at": self.SENT}, b""),
            ([event], b"ip=1&_=1772365800000&ver=1.90.0"),
            ([event], b"sent_at=1772365800000"),
            ([{**event, "sent_at": self.SENT}], b""),
        ]:
            (stored,) = to_events(parse(body, query=query))
            assert stored["occurredAt"] == NOW - timedelta(seconds=5)

    def test_the_clock_is_not_corrected_if_the_client_says_so(self) -> None:
        event = parse_event(
            properties={"distinct_id": "1", "$ignore_sent_at": True},
            timestamp="2026-03-01T11:49:55Z",
            sent_at=self.SENT,
        )
        assert event["occurredAt"] == datetime(2026, 3, 1, 11, 49, 55, tzinfo=UTC)

    def test_a_time_in_seconds_with_a_fraction_is_read(self) -> None:
        event = parse_event(properties={"distinct_id": "1", "$time": 1772366340.029})
        assert event["occurredAt"] == datetime(2026, 3, 1, 11, 59, 0, 29000, tzinfo=UTC)

    def test_an_event_without_a_time_occurred_on_arrival(self) -> None:
        assert parse_event(distinct_id="1")["occurredAt"] == NOW

    def test_an_invalid_time_is_refused(self) -> None:
        event = {"event": "e", "distinct_id": "1", "timestamp": "yesterday"}
        (refused,) = to_results(parse([event]))
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {"occurredAt"}


@pytest.mark.parametrize("field", ["uuid", "$insert_id"])
def test_a_repeated_event_is_the_same_event(field: str) -> None:
    def read_guid(message: str, sent: str) -> str:
        ids = {"distinct_id": "1", **({field: message} if field != "uuid" else {})}
        fields = {"uuid": message} if field == "uuid" else {}
        return parse_event(properties=ids, timestamp="2026-03-01", sent_at=sent, **fields)["guid"]

    assert (
        read_guid("m", "2026-03-02") == read_guid("m", "2026-03-03") != read_guid("n", "2026-03-02")
    )


def test_set_is_read_from_the_event_and_its_properties() -> None:
    outer: dict[str, Any] = {"$set": {"b": 4}}
    inner = {"$set": {"a": 1, "b": 2}, "$set_once": {"c": {"d": 3}}}
    event = parse_event(properties={"distinct_id": "1", **inner}, **outer)
    assert event["data"] == {"$set.a": "1", "$set.b": "4", "$set_once.c.d": "3"}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"distinct_id": "1"}, "event"),
        ({"event": "", "distinct_id": "1"}, "event"),
        ({"event": 7, "distinct_id": "1"}, "event"),
        ({"event": "e", "distinct_id": "1", "properties": []}, "properties"),
        ({"event": "e", "distinct_id": "1", "$set": "x"}, "$set"),
        ({"event": "e", "distinct_id": {"a": 1}}, "userId"),
        (7, "event"),
    ],
)
def test_a_bad_event_does_not_affect_other_events(event: object, field: str) -> None:
    good = {"event": "e", "distinct_id": "1"}
    batch = parse([good, event, good])
    first, refused, last = to_results(batch)
    assert not isinstance(first, HttpError)
    assert not isinstance(last, HttpError)
    assert isinstance(refused, HttpError)
    assert set(refused.fields) == {field}
    answer = to_response(batch)
    assert answer["status"] == 1
    assert [entry["index"] for entry in answer["rejected"]] == [1]
    with pytest.raises(HttpError):
        to_response(parse([event]))


@pytest.mark.parametrize("batch", [None, {}, "text"])
def test_a_batch_is_a_list(batch: object) -> None:
    with pytest.raises(HttpError) as caught:
        parse({"batch": batch})
    assert set(caught.value.fields) == {"batch"}


@pytest.mark.parametrize("body", ["text", 7, None, True])
def test_a_body_is_an_object_or_an_array(body: object) -> None:
    with pytest.raises(HttpError):
        to_response(parse(body))


def read_static_response(route: str) -> dict[str, Any]:
    found = ROUTES[route](make_request({}, "KEY"))
    assert isinstance(found, StaticResponse)
    assert isinstance(found.response, dict)
    return found.response


def test_clients_get_no_features() -> None:
    config = read_static_response("GET /array/*/config")
    assert config["supportedCompression"] == ["gzip-js"]
    assert (config["sessionRecording"], config["hasFeatureFlags"]) == (False, True)
    for method in ("GET", "POST"):
        flags = read_static_response(f"{method} /flags")
        assert (flags["flags"], flags["featureFlags"]) == ({}, {})
        assert flags["errorsWhileComputingFlags"] is False
        assert read_static_response(f"{method} /decide") == {**config, **flags}
    assert read_static_response("POST /s") == {"status": 1}


async def test_events_sent_over_http_are_published(shared: System, gateway: Gateway) -> None:
    """With the key in the body, gzip without a header, and from another origin."""
    event = {**PAGE_VIEW, "properties": {**VISITOR, "mark": "posthog"}}
    body = gzip.compress(json.dumps({"api_key": gateway.key, "batch": [event]}).encode())
    headers = {"content-type": "text/plain", "origin": "https://shop.example"}
    answer = await gateway.request("POST", "/e/?compression=gzip-js", body, headers)
    assert (answer.status_code, answer.json()) == (200, {"status": 1})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    (stored,) = await read_published(shared, "posthog")
    assert stored["anonymousId"] == DEVICE

    config = await gateway.request("GET", "/array/KEY/config", headers=headers)
    assert (config.status_code, config.json()["sessionRecording"]) == (200, False)
    flags = await gateway.request("POST", "/flags/?v=2", b"data=e30%3D", headers)
    assert (flags.status_code, flags.json()["flags"]) == (200, {})
    refused = await gateway.request("POST", "/batch/", json.dumps(BROWSER_BATCH).encode())
    assert refused.status_code == 401


async def test_the_events_become_the_right_profiles(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("$pageview", VISITOR),
        ("$identify", {**USER, "$anon_distinct_id": DEVICE}),
        ("purchase", USER),
        ("$pageview", VISITOR | {"distinct_id": AFTER_RESET}),
        ("page", {"distinct_id": "phone", "$process_person_profile": False, **PYTHON}),
        ("$create_alias", {"distinct_id": "phone", "alias": "123", **PYTHON}),
        ("sale", {"distinct_id": "456", **NODE}),
        ("$create_alias", {"distinct_id": "123", "alias": "456", **NODE}),
    ]
    batch = [
        {
            "event": name,
            "properties": {**properties, "token": gateway.key},
            "uuid": f"u-{n}",
            "timestamp": f"2026-03-01T12:00:0{n}Z",
        }
        for n, (name, properties) in enumerate(calls)
    ]
    for _ in range(2):  # the second time changes nothing
        answer = await gateway.request("POST", "/e/", json.dumps(batch).encode())
        assert answer.json() == {"status": 1}
    await gateway.tracked(type="last", userId="123")
    await eventually(lambda: system.database.count("events"), equals(len(calls) + 1))
    assert await system.database.grouping() == {
        frozenset({"$pageview", "$identify", "purchase", "page", "$create_alias", "last"}),
        frozenset({"$pageview"}),
        frozenset({"sale"}),
    }
