"""Snowplow's dialect: bodies as the real trackers send them, and what comes of them."""

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
from tests.ingest.dialect import NOW, events, make_request, response_to, results
from tests.ingest.test_dialects_http import published
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


def described(schema: str, data: object) -> dict[str, Any]:
    return {"schema": schema, "data": data}


def coded(document: object) -> str:
    """As Node's tracker writes it: base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def contexts(*entities: dict[str, Any]) -> dict[str, Any]:
    return described(CONTEXTS, list(entities))


def post(*payloads: Any) -> ParsedRequest:
    body = {"schema": "iglu:.../payload_data/jsonschema/1-0-4", "data": list(payloads)}
    said = ROUTES[f"POST {TP2}"](make_request(body))
    assert isinstance(said, ParsedRequest)
    return said


def get(payload: dict[str, Any]) -> ParsedRequest:
    said = ROUTES["GET /i"](Request(query_string=urlencode(payload).encode()))
    assert isinstance(said, ParsedRequest)
    return said


def one(**payload: Any) -> Event:
    (event,) = events(post({"e": "pv", **NODE, **payload}))
    return event


def refused(**payload: Any) -> HttpError:
    (result,) = results(post({"e": "pv", **NODE, **payload}))
    assert isinstance(result, HttpError)
    return result


def test_its_paths() -> None:
    assert set(ROUTES) == {f"POST {TP2}", "GET /i"}


@pytest.mark.parametrize("way", ["POST", "GET"])
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
def test_kinds_of_events(payload: dict[str, Any], kind: str, way: str) -> None:
    whole = {**payload, **NODE, "eid": "5f5772c3-9b32-4b90-b35e-982b4e6e08ae"}
    said = post(whole) if way == "POST" else get(whole)
    assert said.api_key == "KEY"
    (event,) = events(said)
    assert (event["type"], event["userId"], event["anonymousId"]) == (kind, "123", "duid-1")
    assert event["occurredAt"] == NOW - timedelta(seconds=1.5)
    assert event["data"] == {**PLAIN, **{k: v for k, v in payload.items() if k != "e"}}


class TestSelfDescribing:
    SAID = described(EVENT, described(GAME, {"saveId": "4321", "level": 23, "deep": {"a": 1.50}}))

    @pytest.mark.parametrize(
        "field",
        [
            {"ue_px": coded(SAID)},
            {"ue_px": base64.urlsafe_b64encode(json.dumps(SAID).encode()).decode()},
            {"ue_px": base64.b64encode(json.dumps(SAID).encode()).decode()},
            {"ue_pr": json.dumps(SAID)},
        ],
        ids=["node", "python", "not for URLs", "plain"],
    )
    def test_its_name_and_data(self, field: dict[str, Any]) -> None:
        event = one(e="ue", **field)
        assert event["type"] == "save_game"
        assert event["data"] == {
            **PLAIN,
            "schema": GAME,
            "saveId": "4321",
            "level": "23",
            "deep": '{"a":1.5}',
        }

    def test_what_it_says_wins(self) -> None:
        said = described(EVENT, described(GAME, {"url": "its own", "schema": "its own"}))
        data = one(e="ue", url="https://shop.example", ue_px=coded(said))["data"]
        assert (data["url"], data["schema"]) == ("its own", "its own")

    @pytest.mark.parametrize(
        "field",
        [
            {},
            {"ue_px": ""},
            {"ue_px": "?"},
            {"ue_px": "ÿ"},
            {"ue_px": 7},
            {"ue_px": coded([])},
            {"ue_px": coded({"data": {}})},
            {"ue_px": coded(described(EVENT, described(GAME, "text")))},
            {"ue_px": coded(described(EVENT, described("save_game", {})))},
            {"ue_px": coded(described(EVENT, {"data": {}}))},
            {"ue_pr": "{"},
            {"ue_pr": "\ud800"},
        ],
    )
    def test_one_that_cannot_be_read(self, field: dict[str, Any]) -> None:
        (named,) = refused(e="ue", **field).fields
        assert named in {"ue_px", "ue_pr", "schema"}


class TestEntities:
    TWO = contexts(
        described(SHOP, {"name": "Berlin", "tags": ["a"], "at": {"zip": "10115"}}),
        described(SESSION, {"userId": "device-1", "previousSessionId": None}),
    )

    @pytest.mark.parametrize("field", [{"cx": coded(TWO)}, {"co": json.dumps(TWO)}])
    def test_one_of_each_name(self, field: dict[str, Any]) -> None:
        assert one(**field)["data"] == {
            **PLAIN,
            "context.shop.name": "Berlin",
            "context.shop.tags": '["a"]',
            "context.shop.at.zip": "10115",
            "context.client_session.userId": "device-1",
        }

    def test_several_of_one_name(self) -> None:
        several = contexts(described(SHOP, {"name": "Berlin"}), described(SHOP, {"name": "Paris"}))
        assert one(cx=coded(several))["data"] == {
            **PLAIN,
            "context.shop": '[{"name":"Berlin"},{"name":"Paris"}]',
        }

    def test_none(self) -> None:
        assert one(cx="", co=None)["data"] == one(cx=coded(contexts()))["data"] == PLAIN

    @pytest.mark.parametrize(
        "document",
        [{}, {"data": {}}, {"data": [7]}, {"data": [{}]}, {"data": [{"schema": "shop"}]}, []],
    )
    def test_what_cannot_be_read(self, document: object) -> None:
        (named,) = refused(cx=coded(document)).fields
        assert named in {"cx", "schema"}

    def test_no_event_is_refused_for_many(self) -> None:
        many = contexts(*(described(f"iglu:v/n{n}/j/1", {"a": n}) for n in range(1000)))
        assert len(one(cx=coded(many))["data"]) <= 256


class TestIds:
    def test_a_visitor(self) -> None:
        event = one(uid=None)
        assert (event["userId"], event["anonymousId"]) == (None, "duid-1")

    def test_what_stands_in_for_the_duid(self) -> None:
        session = coded(contexts(described(SESSION, {"userId": "device-1"})))
        found = [
            one(duid=None, **payload)["anonymousId"]
            for payload in ({"cx": session, "tnuid": "t"}, {"tnuid": "tnuid-1"}, {}, {"nuid": None})
        ]
        assert found == ["device-1", "tnuid-1", "nuid-1", None]

    def test_anonymous_tracking(self) -> None:
        """A browser then sends no duid, and zeros in its session."""
        nobody = described(SESSION, {"userId": "00000000-0000-0000-0000-000000000000"})
        without = {"uid": None, "duid": None, "nuid": None}
        assert set(refused(**without, cx=coded(contexts(nobody))).fields) == {
            "userId",
            "anonymousId",
        }


class TestTime:
    def test_the_client_s_clock_is_corrected(self) -> None:
        behind = int((NOW - timedelta(hours=1)).timestamp() * 1000)
        event = one(dtm=str(behind), stm=str(behind + 5000))
        assert event["occurredAt"] == NOW - timedelta(seconds=5)

    def test_not_where_it_is_said_to_be_true(self) -> None:
        true = datetime(2026, 1, 1, 8, 0, 0, 123000, tzinfo=UTC)
        milliseconds = str(int(true.timestamp() * 1000))
        assert one(ttm=milliseconds, stm="1500000000000")["occurredAt"] == true

    def test_not_by_the_whole_seconds_of_the_python_tracker(self) -> None:
        event = one(tv="py-1.1.0", dtm="1772366398900", stm="1772366398000")
        assert event["occurredAt"] == NOW - timedelta(seconds=1.1)

    def test_none(self) -> None:
        assert one(dtm=None)["occurredAt"] == NOW

    def test_one_that_cannot_be_read(self) -> None:
        assert set(refused(dtm="yesterday").fields) == {"occurredAt"}


def test_an_event_sent_again_is_the_same_event() -> None:
    first, again, other = (
        one(**{"eid": "e-1", **changed})["guid"]
        for changed in ({}, {"stm": "1772366500000"}, {"eid": "e-2"})
    )
    assert first == again != other


def test_the_key_is_that_of_the_first_event_and_no_data() -> None:
    said = post({"e": "pv", **NODE}, {"e": "pv", **NODE, "aid": "OTHER"})
    assert said.api_key == "KEY"
    assert not {"KEY", "OTHER"}.intersection(*(e["data"].values() for e in events(said)))
    for nothing in (post(), post(7), post({"e": "pv"}), post({"e": "pv", "aid": 7}), get({})):
        assert nothing.api_key is None


class TestAnswer:
    def test_all_taken(self) -> None:
        assert response_to(post({"e": "pv", **NODE})) == {"status": "ok"}
        assert response_to(post()) == {"status": "ok"}

    @pytest.mark.parametrize("bad", [{}, {"e": ""}, {"e": 7, **NODE}, 7])
    def test_one_bad_event_costs_its_neighbours_nothing(self, bad: object) -> None:
        answer = response_to(post({"e": "pv", **NODE}, bad))
        assert answer["status"] == "ok"
        assert [told["index"] for told in answer["rejected"]] == [1]

    def test_none_taken(self) -> None:
        with pytest.raises(HttpError) as caught:
            response_to(post({"e": "pv", "aid": "KEY"}))
        assert set(caught.value.fields) == {"userId", "anonymousId"}

    def test_what_is_too_large_is_invalid(self) -> None:
        """For the Python tracker sends again without end what is answered 413."""
        large = HttpError(ErrorKind.TOO_LARGE, "the event takes 100000 bytes")
        for said in (post({"e": "pv"}), get({"e": "pv"})):
            with pytest.raises(HttpError) as caught:
                said.respond([large])
            assert caught.value.kind is ErrorKind.INVALID
            assert caught.value.message == large.message

    def test_what_is_our_fault_is_not(self) -> None:
        ours = HttpError(ErrorKind.INTERNAL, "internal error")
        with pytest.raises(HttpError) as caught:
            post({"e": "pv"}).respond(["evt_1", ours])
        assert caught.value is ours

    def test_the_pixel(self) -> None:
        answer = get({"e": "pv", **NODE}).respond(["evt_1"])
        assert isinstance(answer, Response)
        assert answer.media_type == b"image/gif"
        assert answer.content.startswith(b"GIF89a\x01\x00\x01\x00")

    @pytest.mark.parametrize("body", [[], "text", {}, {"data": {}}, {"data": None}])
    def test_what_is_no_payload(self, body: object) -> None:
        with pytest.raises(HttpError):
            ROUTES[f"POST {TP2}"](make_request(body))


async def test_over_http(shared: System, gateway: Gateway) -> None:
    payload = {**NODE, **PAGE_VIEW, "aid": gateway.key, "mark": "snowplow"}
    headers = {"content-type": "application/json; charset=UTF-8", "origin": "https://shop.example"}
    body = json.dumps({"schema": "x", "data": [{**payload, "eid": "1"}]}).encode()
    answer = await gateway.request("POST", TP2, body, headers)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["access-control-allow-origin"] == headers["origin"]
    answer = await gateway.request("GET", "/i?" + urlencode({**payload, "eid": "2"}))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    events = await published(shared, "snowplow")
    assert [event["type"] for event in events] == ["page_view", "page_view"]
    assert len({event["guid"] for event in events}) == 2

    answer = await gateway.request("GET", "/i?e=pv&uid=1&aid=unknown")
    assert answer.status_code == 401


async def test_who_is_who_then(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    ours = {"aid": gateway.key, "duid": "laptop"}
    payloads = [
        {**ours, "e": "pv", "eid": "1", "dtm": "1772366400000"},
        {**ours, **STRUCT, "eid": "2", "dtm": "1772366401000", "uid": "123"},
        {**ours, **PING, "eid": "3", "dtm": "1772366402000"},
        {**ours, **ITEM, "eid": "4", "dtm": "1772366403000", "duid": "phone"},
    ]
    for _ in range(2):  # the second time it is nothing new
        body = json.dumps({"schema": "x", "data": payloads}).encode()
        answer = await gateway.request("POST", TP2, body)
        assert answer.json() == {"status": "ok"}
    await gateway.tracked(type="last", userId="123")
    await eventually(lambda: system.database.count("events"), equals(5))
    assert await system.database.grouping() == {
        frozenset({"page_view", "struct", "page_ping", "last"}),
        frozenset({"transaction_item"}),
    }
