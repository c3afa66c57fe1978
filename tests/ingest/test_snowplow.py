"""Snowplow's dialect: requests of the real trackers, and the events that they become."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from ingest.dialects import ParsedRequest, Response
from ingest.dialects.snowplow import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError
from schemas.event import Event
from tests.ingest.dialect import NOW, make_request, to_events, to_response, to_results
from tests.ingest.test_dialects_http import read_published
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

TP2 = "/com.snowplowanalytics.snowplow/tp2"
GAME = "iglu:com.acme/save_game/jsonschema/1-0-2"
SHOP = "iglu:com.acme/shop/jsonschema/1-0-0"
SESSION = "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2"
EVENT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0"

NODE: dict[str, Any] = {
    "p": "srv",
    "tv": "node-4.8.0",
    "tna": "ns",
    "aid": "KEY",
    "uid": "123",
    "dtm": "1772366398500",
    "duid": "duid-1",
    "nuid": "nuid-1",
    "stm": "1772366400000",
}
PLAIN = {"p": "srv", "tv": "node-4.8.0", "tna": "ns", "nuid": "nuid-1"}
PAGE_VIEW = {"e": "pv", "url": "https://shop.example/p", "page": "Shop", "refr": "https://r"}
STRUCT = {"e": "se", "se_ca": "shop", "se_ac": "add", "se_va": "19.5"}
TRANSACTION = {"e": "tr", "tr_id": "o1", "tr_tt": "19.5", "tr_cu": "EUR"}
ITEM = {"e": "ti", "ti_id": "o1", "ti_sk": "mug", "ti_pr": "9.5", "ti_qu": "2"}
PING = {"e": "pp", "pp_mix": "0", "pp_max": "5"}


def describe(schema: str, data: object) -> dict[str, Any]:
    return {"schema": schema, "data": data}


def encode(document: object) -> str:
    """Encode a document as Node's tracker does: base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def describe_contexts(*entities: dict[str, Any]) -> dict[str, Any]:
    return describe(CONTEXTS, list(entities))


def parse_post(*payloads: Any) -> ParsedRequest:
    body = {"schema": "iglu:.../payload_data/jsonschema/1-0-4", "data": list(payloads)}
    parsed = ROUTES[f"POST {TP2}"](make_request(body))
    assert isinstance(parsed, ParsedRequest)
    return parsed


def parse_get(payload: dict[str, Any]) -> ParsedRequest:
    parsed = ROUTES["GET /i"](Request(query_string=urlencode(payload).encode()))
    assert isinstance(parsed, ParsedRequest)
    return parsed


def parse_event(**payload: Any) -> Event:
    (event,) = to_events(parse_post({"e": "pv", **NODE, **payload}))
    return event


def parse_refused(**payload: Any) -> HttpError:
    (result,) = to_results(parse_post({"e": "pv", **NODE, **payload}))
    assert isinstance(result, HttpError)
    return result


def test_the_routes_of_the_dialect() -> None:
    assert set(ROUTES) == {f"POST {TP2}", "GET /i"}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (PAGE_VIEW, "page_view"),
        (PING, "page_ping"),
        (STRUCT, "struct"),
        (TRANSACTION, "transaction"),
        (ITEM, "transaction_item"),
        ({"e": "other", "x": "1"}, "other"),
    ],
)
def test_each_kind_of_event_is_read(payload: dict[str, Any], kind: str, method: str) -> None:
    whole = {**payload, **NODE, "eid": "5f5772c3-9b32-4b90-b35e-982b4e6e08ae"}
    parsed = parse_post(whole) if method == "POST" else parse_get(whole)
    assert parsed.api_key == "KEY"
    (event,) = to_events(parsed)
    assert (event["type"], event["userId"], event["anonymousId"]) == (kind, "123", "duid-1")
    assert event["occurredAt"] == NOW - timedelta(seconds=1.5)
    assert event["data"] == {**PLAIN, **{k: v for k, v in payload.items() if k != "e"}}


class TestSelfDescribing:
    EVENT_DOCUMENT = describe(
        EVENT, describe(GAME, {"saveId": "4321", "level": 23, "deep": {"a": 1.50}})
    )

    @pytest.mark.parametrize(
        "field",
        [
            {"ue_px": encode(EVENT_DOCUMENT)},
            {"ue_px": base64.urlsafe_b64encode(json.dumps(EVENT_DOCUMENT).encode()).decode()},
            {"ue_px": base64.b64encode(json.dumps(EVENT_DOCUMENT).encode()).decode()},
            {"ue_pr": json.dumps(EVENT_DOCUMENT)},
        ],
        ids=["node", "python", "not for URLs", "plain"],
    )
    def test_a_self_describing_event_has_its_name_and_data(self, field: dict[str, Any]) -> None:
        event = parse_event(e="ue", **field)
        assert event["type"] == "save_game"
        assert event["data"] == {
            **PLAIN,
            "schema": GAME,
            "saveId": "4321",
            "level": "23",
            "deep": '{"a":1.5}',
        }

    def test_data_of_the_event_wins_over_the_payload(self) -> None:
        event = describe(EVENT, describe(GAME, {"url": "its own", "schema": "its own"}))
        data = parse_event(e="ue", url="https://shop.example", ue_px=encode(event))["data"]
        assert (data["url"], data["schema"]) == ("its own", "its own")

    @pytest.mark.parametrize(
        "field",
        [
            {},
            {"ue_px": ""},
            {"ue_px": "?"},
            {"ue_px": "ÿ"},
            {"ue_px": 7},
            {"ue_px": encode([])},
            {"ue_px": encode({"data": {}})},
            {"ue_px": encode(describe(EVENT, describe(GAME, "text")))},
            {"ue_px": encode(describe(EVENT, describe("save_game", {})))},
            {"ue_px": encode(describe(EVENT, {"data": {}}))},
            {"ue_pr": "{"},
            {"ue_pr": "\ud800"},
        ],
    )
    def test_an_unreadable_event_is_refused(self, field: dict[str, Any]) -> None:
        (named,) = parse_refused(e="ue", **field).fields
        assert named in {"ue_px", "ue_pr", "schema"}


class TestEntities:
    TWO = describe_contexts(
        describe(SHOP, {"name": "Berlin", "tags": ["a"], "at": {"zip": "10115"}}),
        describe(SESSION, {"userId": "device-1", "previousSessionId": None}),
    )

    @pytest.mark.parametrize("field", [{"cx": encode(TWO)}, {"co": json.dumps(TWO)}])
    def test_an_entity_becomes_data(self, field: dict[str, Any]) -> None:
        assert parse_event(**field)["data"] == {
            **PLAIN,
            "context.shop.name": "Berlin",
            "context.shop.tags": '["a"]',
            "context.shop.at.zip": "10115",
            "context.client_session.userId": "device-1",
        }

    def test_several_entities_of_one_name_become_an_array(self) -> None:
        several = describe_contexts(
            describe(SHOP, {"name": "Berlin"}), describe(SHOP, {"name": "Paris"})
        )
        assert parse_event(cx=encode(several))["data"] == {
            **PLAIN,
            "context.shop": '[{"name":"Berlin"},{"name":"Paris"}]',
        }

    def test_empty_entities_add_no_data(self) -> None:
        assert (
            parse_event(cx="", co=None)["data"]
            == parse_event(cx=encode(describe_contexts()))["data"]
            == PLAIN
        )

    @pytest.mark.parametrize(
        "document",
        [{}, {"data": {}}, {"data": [7]}, {"data": [{}]}, {"data": [{"schema": "shop"}]}, []],
    )
    def test_unreadable_entities_are_refused(self, document: object) -> None:
        (named,) = parse_refused(cx=encode(document)).fields
        assert named in {"cx", "schema"}

    def test_many_entities_do_not_refuse_an_event(self) -> None:
        many = describe_contexts(*(describe(f"iglu:v/n{n}/j/1", {"a": n}) for n in range(1000)))
        assert len(parse_event(cx=encode(many))["data"]) <= 256


class TestIds:
    def test_a_visitor_has_an_anonymous_id(self) -> None:
        event = parse_event(uid=None)
        assert (event["userId"], event["anonymousId"]) == (None, "duid-1")

    def test_other_ids_replace_a_missing_duid(self) -> None:
        session = encode(describe_contexts(describe(SESSION, {"userId": "device-1"})))
        found = [
            parse_event(duid=None, **payload)["anonymousId"]
            for payload in ({"cx": session, "tnuid": "t"}, {"tnuid": "tnuid-1"}, {}, {"nuid": None})
        ]
        assert found == ["device-1", "tnuid-1", "nuid-1", None]

    def test_anonymous_tracking_has_no_id(self) -> None:
        """A browser then sends no duid and a session id of zeros."""
        zeros = describe(SESSION, {"userId": "00000000-0000-0000-0000-000000000000"})
        without = {"uid": None, "duid": None, "nuid": None}
        assert set(parse_refused(**without, cx=encode(describe_contexts(zeros))).fields) == {
            "userId",
            "anonymousId",
        }


class TestTime:
    def test_the_clock_of_the_client_is_corrected(self) -> None:
        behind = int((NOW - timedelta(hours=1)).timestamp() * 1000)
        event = parse_event(dtm=str(behind), stm=str(behind + 5000))
        assert event["occurredAt"] == NOW - timedelta(seconds=5)

    def test_a_true_timestamp_is_not_corrected(self) -> None:
        true = datetime(2026, 1, 1, 8, 0, 0, 123000, tzinfo=UTC)
        milliseconds = str(int(true.timestamp() * 1000))
        assert parse_event(ttm=milliseconds, stm="1500000000000")["occurredAt"] == true

    def test_whole_seconds_of_the_python_tracker_do_not_correct_the_clock(self) -> None:
        event = parse_event(tv="py-1.1.0", dtm="1772366398900", stm="1772366398000")
        assert event["occurredAt"] == NOW - timedelta(seconds=1.1)

    def test_an_event_without_a_time_occurred_on_arrival(self) -> None:
        assert parse_event(dtm=None)["occurredAt"] == NOW

    def test_an_invalid_time_is_refused(self) -> None:
        assert set(parse_refused(dtm="yesterday").fields) == {"occurredAt"}


def test_a_repeated_event_is_the_same_event() -> None:
    first, again, other = (
        parse_event(**{"eid": "e-1", **changed})["guid"]
        for changed in ({}, {"stm": "1772366500000"}, {"eid": "e-2"})
    )
    assert first == again != other


def test_the_key_is_in_the_first_event_and_is_not_stored() -> None:
    parsed = parse_post({"e": "pv", **NODE}, {"e": "pv", **NODE, "aid": "OTHER"})
    assert parsed.api_key == "KEY"
    assert not {"KEY", "OTHER"}.intersection(*(e["data"].values() for e in to_events(parsed)))
    for nothing in (
        parse_post(),
        parse_post(7),
        parse_post({"e": "pv"}),
        parse_post({"e": "pv", "aid": 7}),
        parse_get({}),
    ):
        assert nothing.api_key is None


class TestResponse:
    def test_accepted_events_are_ok(self) -> None:
        assert to_response(parse_post({"e": "pv", **NODE})) == {"status": "ok"}
        assert to_response(parse_post()) == {"status": "ok"}

    @pytest.mark.parametrize("bad", [{}, {"e": ""}, {"e": 7, **NODE}, 7])
    def test_a_bad_event_does_not_affect_other_events(self, bad: object) -> None:
        answer = to_response(parse_post({"e": "pv", **NODE}, bad))
        assert answer["status"] == "ok"
        assert [entry["index"] for entry in answer["rejected"]] == [1]

    def test_a_request_without_a_valid_event_is_refused(self) -> None:
        with pytest.raises(HttpError) as caught:
            to_response(parse_post({"e": "pv", "aid": "KEY"}))
        assert set(caught.value.fields) == {"userId", "anonymousId"}

    def test_an_event_that_is_too_large_is_invalid(self) -> None:
        """As the Python tracker repeats a request without end after status 413."""
        large = HttpError(ErrorKind.TOO_LARGE, "the event takes 100000 bytes")
        for parsed in (parse_post({"e": "pv"}), parse_get({"e": "pv"})):
            with pytest.raises(HttpError) as caught:
                parsed.respond([large])
            assert caught.value.kind is ErrorKind.INVALID
            assert caught.value.message == large.message

    def test_an_internal_error_is_not_invalid(self) -> None:
        internal = HttpError(ErrorKind.INTERNAL, "internal error")
        with pytest.raises(HttpError) as caught:
            parse_post({"e": "pv"}).respond(["evt_1", internal])
        assert caught.value is internal

    def test_a_get_request_returns_a_pixel(self) -> None:
        answer = parse_get({"e": "pv", **NODE}).respond(["evt_1"])
        assert isinstance(answer, Response)
        assert answer.media_type == b"image/gif"
        assert answer.content.startswith(b"GIF89a\x01\x00\x01\x00")

    @pytest.mark.parametrize("body", [[], "text", {}, {"data": {}}, {"data": None}])
    def test_a_body_without_payloads_is_refused(self, body: object) -> None:
        with pytest.raises(HttpError):
            ROUTES[f"POST {TP2}"](make_request(body))


async def test_events_sent_over_http_are_published(shared: System, gateway: Gateway) -> None:
    payload = {**NODE, **PAGE_VIEW, "aid": gateway.key, "mark": "snowplow"}
    headers = {"content-type": "application/json; charset=UTF-8", "origin": "https://shop.example"}
    body = json.dumps({"schema": "x", "data": [{**payload, "eid": "1"}]}).encode()
    answer = await gateway.request("POST", TP2, body, headers)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["access-control-allow-origin"] == headers["origin"]
    answer = await gateway.request("GET", "/i?" + urlencode({**payload, "eid": "2"}))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    stored = await read_published(shared, "snowplow")
    assert [event["type"] for event in stored] == ["page_view", "page_view"]
    assert len({event["guid"] for event in stored}) == 2

    answer = await gateway.request("GET", "/i?e=pv&uid=1&aid=unknown")
    assert answer.status_code == 401


async def test_the_events_become_the_right_profiles(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    ours = {"aid": gateway.key, "duid": "laptop"}
    payloads = [
        {**ours, "e": "pv", "eid": "1", "dtm": "1772366400000"},
        {**ours, **STRUCT, "eid": "2", "dtm": "1772366401000", "uid": "123"},
        {**ours, **PING, "eid": "3", "dtm": "1772366402000"},
        {**ours, **ITEM, "eid": "4", "dtm": "1772366403000", "duid": "phone"},
    ]
    for _ in range(2):  # the second time changes nothing
        body = json.dumps({"schema": "x", "data": payloads}).encode()
        answer = await gateway.request("POST", TP2, body)
        assert answer.json() == {"status": "ok"}
    await gateway.tracked(type="last", userId="123")
    await eventually(lambda: system.database.count("events"), equals(5))
    assert await system.database.grouping() == {
        frozenset({"page_view", "struct", "page_ping", "last"}),
        frozenset({"transaction_item"}),
    }
