"""PostHog's dialect: bodies as the real packages send them, and what comes of them."""

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
from tests.ingest.dialect import NOW, events, make_request, response_to, results
from tests.ingest.test_dialects_http import published
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


def said(body: Any, path: str = "batch", query: bytes = b"") -> ParsedRequest:
    return capture(make_request(body, query=query), path)


def capture(request: Request, path: str = "e") -> ParsedRequest:
    found = ROUTES[f"POST /{path}"](request)
    assert isinstance(found, ParsedRequest)
    return found


def one(name: str = "e", properties: dict[str, Any] | None = None, **fields: Any) -> Event:
    (event,) = events(said({"event": name, "properties": properties, **fields}))
    return event


def who(name: str = "e", **properties: Any) -> tuple[str | None, str | None]:
    event = one(name, properties)
    return event["userId"], event["anonymousId"]


def test_its_paths() -> None:
    assert set(ROUTES) == {
        *(f"POST /{path}" for path in ("batch", "e", "i/v0/e", "capture", "track")),
        *(f"{method} /{path}" for method in ("GET", "POST") for path in ("flags", "decide")),
        "GET /array/*/config",
        "POST /s",
    }


def test_a_batch_of_the_python_package() -> None:
    batch = said(PYTHON_BATCH)
    assert batch.api_key == "KEY"
    stored = events(batch)
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
    assert response_to(batch) == {"status": 1}


def test_a_batch_of_a_browser() -> None:
    batch = said(BROWSER_BATCH, "e")
    assert batch.api_key == "KEY"
    page, identify = events(batch)
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
def test_each_path_takes_each_shape(path: str) -> None:
    expected = events(said(BROWSER_BATCH))
    shapes = [
        BROWSER_BATCH,
        [{**event, "sent_at": BROWSER_BATCH["sent_at"]} for event in (PAGE_VIEW, IDENTIFY)],
    ]
    assert [events(said(shape, path)) for shape in shapes] == [expected, expected]
    alone = said({**PAGE_VIEW, "api_key": "KEY", "sent_at": BROWSER_BATCH["sent_at"]}, path)
    assert events(alone) == expected[:1]


class TestEncoding:
    TEXT = json.dumps(BROWSER_BATCH).encode()
    CODED = base64.b64encode(json.dumps([{**PAGE_VIEW, "u": "ÿþ?>~~~"}]).encode())

    def test_gzip(self) -> None:
        """As posthog-js sends it, under text/plain; the gateway unpacks it before."""
        body = unpack(gzip.compress(self.TEXT), 1 << 20)
        assert events(capture(Request(body, query_string=b"compression=gzip-js"))) == events(
            said(BROWSER_BATCH)
        )

    @pytest.mark.parametrize("query", [b"", b"compression=base64", b"compression=base64&ver=1"])
    def test_a_form_with_base64(self, query: bytes) -> None:
        """As posthog-js sends it when a page is left."""
        form = b"data=" + quote(base64.b64encode(self.TEXT), safe="").encode()
        assert events(capture(Request(form, query_string=query))) == events(said(BROWSER_BATCH))
        assert events(capture(Request(form + b"&ip=1", query_string=query))) == events(
            said(BROWSER_BATCH)
        )

    def test_a_form_with_json(self) -> None:
        form = b"data=" + quote(self.TEXT, safe="").encode()
        assert events(capture(Request(form))) == events(said(BROWSER_BATCH))

    def test_base64_alone(self) -> None:
        body = base64.b64encode(self.TEXT)
        assert events(capture(Request(body, query_string=b"compression=base64"))) == events(
            said(BROWSER_BATCH)
        )

    def test_a_plus_that_nobody_escaped(self) -> None:
        assert b"+" in self.CODED
        (event,) = events(capture(Request(b"data=" + self.CODED)))
        assert event["type"] == "$pageview"

    def test_base64_with_something_else_in_it(self) -> None:
        """It is refused: what is left without that may say something else."""
        with pytest.raises(HttpError) as caught:
            capture(Request(b"data=" + self.CODED[:8] + b"    " + self.CODED[8:]))
        assert caught.value.message == "the body is neither JSON nor base64 of JSON"

    def test_json_in_spite_of_what_the_url_says(self) -> None:
        assert events(capture(Request(self.TEXT, query_string=b"compression=base64"))) == events(
            said(BROWSER_BATCH)
        )

    @pytest.mark.parametrize(
        "body", [b"", b"text", b"{", b"data=", b"data=???", b"data=eA", b"data=eA==", b"\xff"]
    )
    @pytest.mark.parametrize("query", [b"", b"compression=base64"])
    def test_what_cannot_be_read(self, body: bytes, query: bytes) -> None:
        with pytest.raises(HttpError) as caught:
            capture(Request(body, query_string=query))
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
    def test_where_it_may_be(self, body: object) -> None:
        assert said(body).api_key == "KEY"

    @pytest.mark.parametrize("body", [{}, [], {"api_key": None}, {"properties": "KEY"}, [7]])
    def test_none(self, body: object) -> None:
        assert said(body).api_key is None

    def test_it_is_no_data(self) -> None:
        assert one(properties={"token": "KEY", "distinct_id": "1"}, api_key="KEY")["data"] == {}


class TestDistinctId:
    def test_of_a_visitor(self) -> None:
        assert who(**VISITOR) == (None, DEVICE)
        assert who(**VISITOR | {"$process_person_profile": True}) == (None, DEVICE)

    def test_of_a_visitor_after_reset(self) -> None:
        """The device keeps its id, and has a new distinct_id."""
        assert who(**VISITOR | {"distinct_id": AFTER_RESET}) == (None, AFTER_RESET)

    def test_of_a_user_with_a_device(self) -> None:
        assert who(**USER) == ("123", DEVICE)

    def test_identified_with_person_profiles_switched_off(self) -> None:
        assert who(**USER | {"$process_person_profile": False}) == ("123", DEVICE)

    def test_of_a_server_library(self) -> None:
        assert who(distinct_id="123", **PYTHON) == ("123", None)
        anonymous = {**NODE, "distinct_id": "anon", "$process_person_profile": False}
        assert who(**anonymous) == (None, "anon")
        device = {**PYTHON, "distinct_id": "dev", "$device_id": "dev"}
        assert who(**device) == (None, "dev")

    def test_a_number(self) -> None:
        assert who(distinct_id=123) == ("123", None)
        (event,) = events(said({"event": "e", "distinct_id": 123}))
        assert event["userId"] == "123"

    def test_of_the_event_before_that_of_the_properties(self) -> None:
        inner = {"distinct_id": "inner"}
        assert one(properties=inner, distinct_id="outer")["userId"] == "outer"
        assert one(properties=inner, distinct_id=None)["userId"] == "inner"

    def test_cookieless(self) -> None:
        """One id for all visitors: it must put no two of them together."""
        nobody = "$posthog_cookieless"
        cookieless = {"$device_id": None, "$cookieless_mode": True}
        page = {**VISITOR, **cookieless, "distinct_id": nobody}
        identify = {**USER, **cookieless, "$anon_distinct_id": nobody}
        alias = {**page, "alias": "123"}
        refused, *linking = results(said([{"event": "$pageview", "properties": page}])) + events(
            said(
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
    def test_links(self) -> None:
        ids = {"distinct_id": "123", "$anon_distinct_id": "anon_9"}
        assert who("$identify", **ids, **NODE) == ("123", "anon_9")
        assert who("$identify", **ids, **WEB) == ("123", "anon_9")

    def test_without_an_anonymous_id(self) -> None:
        assert who("$identify", distinct_id="123", **PYTHON) == ("123", None)
        assert who("$identify", **USER) == ("123", DEVICE)


class TestAlias:
    def test_of_node(self) -> None:
        """`alias({distinctId: "123", alias: "anon_1"})`."""
        assert who("$create_alias", distinct_id="123", alias="anon_1", **NODE) == ("123", "anon_1")

    def test_of_python(self) -> None:
        """`alias(previous_id="anon_1", distinct_id="123")`."""
        ids = {"distinct_id": "anon_1", "alias": "123"}
        assert who("$create_alias", **ids, **PYTHON) == ("123", "anon_1")

    def test_of_a_page(self) -> None:
        """`alias("123")`, and `alias("123", "anon_1")`."""
        assert who("$create_alias", **VISITOR, alias="123") == ("123", DEVICE)
        other = USER | {"distinct_id": "anon_1", "alias": "123"}
        assert who("$create_alias", **other) == ("123", "anon_1")

    def test_of_a_page_whose_user_is_known(self) -> None:
        assert who("$create_alias", **USER, alias="other") == ("123", "other")

    @pytest.mark.parametrize("library", [PYTHON, NODE])
    def test_merge_dangerously(self, library: dict[str, Any]) -> None:
        ids = {"distinct_id": "123", "alias": "anon_1"}
        assert who("$merge_dangerously", **ids, **library) == ("123", "anon_1")


ACME: dict[str, Any] = {"$group_type": "company", "$group_key": "acme"}


class TestGroup:
    def test_of_a_user(self) -> None:
        assert who("$groupidentify", **USER, **ACME) == ("123", DEVICE)
        assert who("$groupidentify", distinct_id="123", **NODE, **ACME) == ("123", None)

    @pytest.mark.parametrize(
        "made_up",
        [
            {"distinct_id": "$company_acme", **NODE},
            {"distinct_id": "f434d52e-40f7-4bdd-831f-1da3543f48f4", **PYTHON},
        ],
        ids=["node", "python"],
    )
    def test_of_nobody(self, made_up: dict[str, Any]) -> None:
        event = {"event": "$groupidentify", "properties": {**made_up, **ACME}}
        (refused,) = results(said([event]))
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {"userId", "anonymousId"}

    def test_other_ids_that_look_like_it(self) -> None:
        uuid = "f434d52e-40f7-4bdd-831f-1da3543f48f4"
        assert who("$groupidentify", distinct_id=uuid, **NODE, **ACME) == (uuid, None)
        assert who("purchase", distinct_id=uuid, **PYTHON) == (uuid, None)


class TestTime:
    SENT = "2026-03-01T11:50:00Z"

    def test_the_client_s_clock_is_corrected(self) -> None:
        """It runs ten minutes late: an event of five seconds ago is one of five seconds ago."""
        event = {"event": "e", "distinct_id": "1", "timestamp": "2026-03-01T11:49:55Z"}
        for body, query in [
            ({"batch": [event], "sent_at": self.SENT}, b""),
            ([event], b"ip=1&_=1772365800000&ver=1.90.0"),
            ([event], b"sent_at=1772365800000"),
            ([{**event, "sent_at": self.SENT}], b""),
        ]:
            (stored,) = events(said(body, query=query))
            assert stored["occurredAt"] == NOW - timedelta(seconds=5)

    def test_unless_it_says_otherwise(self) -> None:
        event = one(
            properties={"distinct_id": "1", "$ignore_sent_at": True},
            timestamp="2026-03-01T11:49:55Z",
            sent_at=self.SENT,
        )
        assert event["occurredAt"] == datetime(2026, 3, 1, 11, 49, 55, tzinfo=UTC)

    def test_seconds_with_a_fraction(self) -> None:
        event = one(properties={"distinct_id": "1", "$time": 1772366340.029})
        assert event["occurredAt"] == datetime(2026, 3, 1, 11, 59, 0, 29000, tzinfo=UTC)

    def test_none(self) -> None:
        assert one(distinct_id="1")["occurredAt"] == NOW

    def test_one_that_cannot_be_read(self) -> None:
        event = {"event": "e", "distinct_id": "1", "timestamp": "yesterday"}
        (refused,) = results(said([event]))
        assert isinstance(refused, HttpError)
        assert set(refused.fields) == {"occurredAt"}


@pytest.mark.parametrize("named", ["uuid", "$insert_id"])
def test_an_event_sent_again_is_the_same_event(named: str) -> None:
    def guid(message: str, sent: str) -> str:
        ids = {"distinct_id": "1", **({named: message} if named != "uuid" else {})}
        fields = {"uuid": message} if named == "uuid" else {}
        return one(properties=ids, timestamp="2026-03-01", sent_at=sent, **fields)["guid"]

    assert guid("m", "2026-03-02") == guid("m", "2026-03-03") != guid("n", "2026-03-02")


def test_set_in_both_places() -> None:
    outer: dict[str, Any] = {"$set": {"b": 4}}
    inner = {"$set": {"a": 1, "b": 2}, "$set_once": {"c": {"d": 3}}}
    event = one(properties={"distinct_id": "1", **inner}, **outer)
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
def test_one_bad_event_costs_its_neighbours_nothing(event: object, field: str) -> None:
    good = {"event": "e", "distinct_id": "1"}
    batch = said([good, event, good])
    kept, refused, also_kept = results(batch)
    assert not isinstance(kept, HttpError)
    assert not isinstance(also_kept, HttpError)
    assert isinstance(refused, HttpError)
    assert set(refused.fields) == {field}
    answer = response_to(batch)
    assert answer["status"] == 1
    assert [told["index"] for told in answer["rejected"]] == [1]
    with pytest.raises(HttpError):
        response_to(said([event]))


@pytest.mark.parametrize("batch", [None, {}, "text"])
def test_a_batch_is_a_list(batch: object) -> None:
    with pytest.raises(HttpError) as caught:
        said({"batch": batch})
    assert set(caught.value.fields) == {"batch"}


@pytest.mark.parametrize("body", ["text", 7, None, True])
def test_a_body_is_an_object_or_an_array(body: object) -> None:
    with pytest.raises(HttpError):
        response_to(said(body))


def told(route: str) -> dict[str, Any]:
    found = ROUTES[route](make_request({}, "KEY"))
    assert isinstance(found, StaticResponse)
    assert isinstance(found.response, dict)
    return found.response


def test_clients_are_told_of_no_features() -> None:
    config = told("GET /array/*/config")
    assert config["supportedCompression"] == ["gzip-js"]
    assert (config["sessionRecording"], config["hasFeatureFlags"]) == (False, True)
    for method in ("GET", "POST"):
        flags = told(f"{method} /flags")
        assert (flags["flags"], flags["featureFlags"]) == ({}, {})
        assert flags["errorsWhileComputingFlags"] is False
        assert told(f"{method} /decide") == {**config, **flags}
    assert told("POST /s") == {"status": 1}


async def test_over_http(shared: System, gateway: Gateway) -> None:
    """The key in the body, gzip without a header that says so, and from another origin."""
    event = {**PAGE_VIEW, "properties": {**VISITOR, "mark": "posthog"}}
    body = gzip.compress(json.dumps({"api_key": gateway.key, "batch": [event]}).encode())
    headers = {"content-type": "text/plain", "origin": "https://shop.example"}
    answer = await gateway.request("POST", "/e/?compression=gzip-js", body, headers)
    assert (answer.status_code, answer.json()) == (200, {"status": 1})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    (stored,) = await published(shared, "posthog")
    assert stored["anonymousId"] == DEVICE

    config = await gateway.request("GET", "/array/KEY/config", headers=headers)
    assert (config.status_code, config.json()["sessionRecording"]) == (200, False)
    flags = await gateway.request("POST", "/flags/?v=2", b"data=e30%3D", headers)
    assert (flags.status_code, flags.json()["flags"]) == (200, {})
    refused = await gateway.request("POST", "/batch/", json.dumps(BROWSER_BATCH).encode())
    assert refused.status_code == 401


async def test_who_is_who_then(system: System) -> None:
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
    for _ in range(2):  # the second time it is nothing new
        answer = await gateway.request("POST", "/e/", json.dumps(batch).encode())
        assert answer.json() == {"status": 1}
    await gateway.tracked(type="last", userId="123")
    await eventually(lambda: system.database.count("events"), equals(len(calls) + 1))
    assert await system.database.grouping() == {
        frozenset({"$pageview", "$identify", "purchase", "page", "$create_alias", "last"}),
        frozenset({"$pageview"}),
        frozenset({"sale"}),
    }
