"""The native dialect, which is Grouparoo's: from a body to events, from results to a response."""

import json
from typing import Any

import pytest

from ingest.dialects import ParsedRequest, Results, native
from ingest.dialects.native import ROUTES
from ingest.request import Request
from merganser.http.errors import ErrorKind, HttpError


def respond(parsed: ParsedRequest, results: Results) -> dict[str, Any]:
    answer = parsed.respond(results)
    assert isinstance(answer, dict)
    return answer


def parse_track(body: Any) -> ParsedRequest:
    return native.track(Request(json.dumps(body).encode()))


def parse_batch(body: Any) -> ParsedRequest:
    return native.batch(Request(json.dumps(body).encode()))


BAD = HttpError(ErrorKind.INVALID, "type: missing", {"type": "missing"})


def test_the_routes_of_the_dialect() -> None:
    assert set(ROUTES) == {"POST /api/v1/track", "POST /api/v1/batch"}


def test_track_reads_one_event() -> None:
    body = {"apiKey": "k", "type": "t", "userId": 17}
    parsed = parse_track(body)
    assert (parsed.api_key, len(parsed.events)) == ("k", 1)
    assert parsed.events[0]["type"] == "t"
    assert parsed.respond(["evt_1"]) == {"success": True, "event": {"guid": "evt_1"}}


def test_track_fails_with_its_event() -> None:
    with pytest.raises(HttpError) as caught:
        parse_track({}).respond([BAD])
    assert caught.value is BAD


def test_batch_reads_many_events_and_has_results_in_order() -> None:
    parsed = parse_batch({"apiKey": "k", "events": [{"type": "a"}, "x", {"type": "c"}]})
    assert (parsed.api_key, list(parsed.events)) == ("k", [{"type": "a"}, "x", {"type": "c"}])
    answer = respond(parsed, ["evt_1", BAD, "evt_3"])
    assert (answer["success"], answer["accepted"], answer["rejected"]) == (False, 2, 1)
    first, second, third = answer["events"]
    assert first == {"success": True, "event": {"guid": "evt_1"}}
    assert third == {"success": True, "event": {"guid": "evt_3"}}
    assert second["success"] is False
    assert second["code"] == second["error"]["code"] == "invalid"
    assert second["error"]["fields"] == {"type": "missing"}


def test_a_batch_of_good_events_is_a_success() -> None:
    assert parse_batch({"events": []}).respond([]) == {
        "success": True,
        "accepted": 0,
        "rejected": 0,
        "events": [],
    }


@pytest.mark.parametrize("body", [None, [], "text", 1, True])
@pytest.mark.parametrize("reader", [parse_track, parse_batch])
def test_a_body_is_an_object(reader: Any, body: object) -> None:
    with pytest.raises(HttpError) as caught:
        reader(body)
    assert caught.value.kind is ErrorKind.MALFORMED


@pytest.mark.parametrize("events", [None, {}, "text"])
def test_a_batch_has_a_list(events: object) -> None:
    with pytest.raises(HttpError) as caught:
        parse_batch({"events": events})
    assert set(caught.value.fields) == {"events"}


@pytest.mark.parametrize("key", [None, 1, {}, ["k"]])
def test_a_key_is_a_string(key: object) -> None:
    assert parse_track({"apiKey": key}).api_key is None


def test_sent_at_of_a_batch_applies_to_its_events() -> None:
    events = [{"type": "a"}, {"type": "b", "sentAt": "2026-01-01"}, "x"]
    parsed = parse_batch({"events": events, "sentAt": "2026-01-02"})
    assert list(parsed.events) == [
        {"type": "a", "sentAt": "2026-01-02"},
        {"type": "b", "sentAt": "2026-01-01"},
        "x",
    ]


def test_a_repeated_request_of_the_grouparoo_client_is_the_same_event() -> None:
    """The client has no message id: equal bodies are the same event."""
    body = {"type": "t", "ocurredAt": 1767225600000, "data": {"n": 1}}
    first, repeated = parse_track(body).events[0], parse_track(body).events[0]
    assert first["messageId"] == repeated["messageId"]
    other = parse_track({**body, "ocurredAt": 1767225600001}).events[0]
    assert other["messageId"] != first["messageId"]
    assert parse_track({**body, "messageId": "m-1"}).events[0]["messageId"] == "m-1"
    assert "messageId" not in parse_track({"type": "t", "occurredAt": 1}).events[0]
