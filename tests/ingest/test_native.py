"""Our own dialect, which is Grouparoo's: from a body to events, from results to an answer."""

import json
from typing import Any

import pytest

from ingest.dialects import ParsedRequest, Results, native
from ingest.dialects.native import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError


def answered(said: ParsedRequest, results: Results) -> dict[str, Any]:
    answer = said.respond(results)
    assert isinstance(answer, dict)
    return answer


def track(body: Any) -> ParsedRequest:
    return native.track(Request(json.dumps(body).encode()))


def batch(body: Any) -> ParsedRequest:
    return native.batch(Request(json.dumps(body).encode()))


BAD = HttpError(ErrorKind.INVALID, "type: missing", {"type": "missing"})


def test_its_paths() -> None:
    assert set(ROUTES) == {"POST /api/v1/track", "POST /api/v1/batch"}


def test_track_says_one_event() -> None:
    body = {"apiKey": "k", "type": "t"}
    said = track(body)
    assert (said.api_key, list(said.events)) == ("k", [body])
    assert said.respond(["evt_1"]) == {"success": True, "event": {"guid": "evt_1"}}


def test_track_stands_or_falls_with_its_event() -> None:
    with pytest.raises(HttpError) as caught:
        track({}).respond([BAD])
    assert caught.value is BAD


def test_batch_says_many_events_and_answers_each_in_order() -> None:
    said = batch({"apiKey": "k", "events": [{"type": "a"}, "x", {"type": "c"}]})
    assert (said.api_key, list(said.events)) == ("k", [{"type": "a"}, "x", {"type": "c"}])
    answer = answered(said, ["evt_1", BAD, "evt_3"])
    assert (answer["success"], answer["accepted"], answer["rejected"]) == (False, 2, 1)
    first, second, third = answer["events"]
    assert first == {"success": True, "event": {"guid": "evt_1"}}
    assert third == {"success": True, "event": {"guid": "evt_3"}}
    assert second["success"] is False
    assert second["code"] == second["error"]["code"] == "invalid"
    assert second["error"]["fields"] == {"type": "missing"}


def test_a_batch_of_good_events_is_a_success() -> None:
    assert batch({"events": []}).respond([]) == {
        "success": True,
        "accepted": 0,
        "rejected": 0,
        "events": [],
    }


@pytest.mark.parametrize("body", [None, [], "text", 1, True])
@pytest.mark.parametrize("reader", [track, batch])
def test_a_body_is_an_object(reader: Any, body: object) -> None:
    with pytest.raises(HttpError) as caught:
        reader(body)
    assert caught.value.kind is ErrorKind.MALFORMED


@pytest.mark.parametrize("events", [None, {}, "text"])
def test_a_batch_has_a_list(events: object) -> None:
    with pytest.raises(HttpError) as caught:
        batch({"events": events})
    assert set(caught.value.fields) == {"events"}


@pytest.mark.parametrize("key", [None, 1, {}, ["k"]])
def test_a_key_is_a_string(key: object) -> None:
    assert track({"apiKey": key}).api_key is None


def test_a_batch_says_once_when_it_was_sent() -> None:
    events = [{"type": "a"}, {"type": "b", "sentAt": "2026-01-01"}, "x"]
    said = batch({"events": events, "sentAt": "2026-01-02"})
    assert list(said.events) == [
        {"type": "a", "sentAt": "2026-01-02"},
        {"type": "b", "sentAt": "2026-01-01"},
        "x",
    ]


def test_what_the_seed_s_client_sends_again_is_the_same_event() -> None:
    """It says so by nothing but its bytes."""
    body = {"type": "t", "ocurredAt": 1767225600000, "data": {"n": 1}}
    first, again = track(body).events[0], track(body).events[0]
    assert first["messageId"] == again["messageId"]
    other = track({**body, "ocurredAt": 1767225600001}).events[0]
    assert other["messageId"] != first["messageId"]
    assert track({**body, "messageId": "m-1"}).events[0]["messageId"] == "m-1"
    assert "messageId" not in track({"type": "t", "occurredAt": 1}).events[0]
