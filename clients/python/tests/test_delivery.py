import json
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from fake_ingest import FakeIngest, accept_if, respond
from merganser_client import Client, Closed, Counts, Failure

Connect = Callable[..., Client]


def test_a_request_has_the_key_the_time_and_the_events(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    client = connect()
    before = datetime.now(timezone.utc)
    client.track("purchase", user_id=123, data={"price": Decimal("19.990")}, message_id="m-1")
    assert client.flush(10)
    (request,) = fake_ingest.requests
    assert request.path == "/api/v1/batch"
    assert set(request.body) == {"apiKey", "sentAt", "events"}
    assert request.body["apiKey"] == "key"
    sent_at = datetime.fromisoformat(request.body["sentAt"])
    assert before <= sent_at <= datetime.now(timezone.utc)
    (event,) = request.body["events"]
    assert (event["type"], event["userId"], event["messageId"]) == ("purchase", "123", "m-1")


def test_identify_is_an_event_with_both_ids(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect()
    client.identify("1", anonymous_id="a", traits={"plan": "gold"})
    assert client.flush(10)
    (event,) = fake_ingest.stored.values()
    fields = {key: event[key] for key in ("type", "userId", "anonymousId", "data")}
    assert fields == {
        "type": "identify",
        "userId": "1",
        "anonymousId": "a",
        "data": {"plan": "gold"},
    }


def test_an_endpoint_may_have_a_path_and_a_trailing_slash(fake_ingest: FakeIngest) -> None:
    with Client("key", fake_ingest.url + "/events/") as client:
        client.track("t", user_id="1")
    assert [request.path for request in fake_ingest.requests] == ["/events/api/v1/batch"]


def test_events_are_batched_in_order(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect(interval=30, batch_size=100)
    for number in range(250):
        client.track("t", user_id="1", message_id=str(number))
    assert client.flush(10)
    assert list(fake_ingest.stored) == [str(number) for number in range(250)]
    assert max(len(request.ids) for request in fake_ingest.requests) == 100
    assert len(fake_ingest.requests) == 3
    assert client.counts() == Counts(waiting=0, delivered=250, refused=0, dropped=0)


def test_a_full_batch_does_not_wait_for_others(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect(interval=3600, batch_size=2)
    client.track("t", user_id="1")
    client.track("t", user_id="1")
    fake_ingest.wait_for(lambda: len(fake_ingest.stored) == 2)


def test_an_event_waits_at_most_the_interval(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect(interval=0.2)
    client.track("t", user_id="1")
    client.track("t", user_id="1")
    fake_ingest.wait_for(lambda: len(fake_ingest.stored) == 2)
    assert len(fake_ingest.requests) == 1


def test_a_request_stays_below_the_limit_of_bytes(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    client = connect(interval=30)
    for _ in range(60):
        client.track("t", user_id="1", data={"text": "é" * 30_000})
    assert client.flush(20)
    assert len(fake_ingest.stored) == 60
    assert max(request.size for request in fake_ingest.requests) <= 1 << 20
    assert len(fake_ingest.requests) <= 5


def test_large_requests_are_compressed(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect()
    client.track("t", user_id="1", data={"text": "x" * 10_000})
    assert client.flush(10)
    assert fake_ingest.requests[0].headers["Content-Encoding"] == "gzip"
    assert int(fake_ingest.requests[0].headers["Content-Length"]) < 1000


def test_a_refused_event_is_reported_and_the_others_arrive(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.refusal = lambda event: "type: too long" if event["type"] == "bad" else None
    client = connect(interval=30)
    for number, event_type in enumerate(["good", "bad", "good"]):
        client.track(event_type, user_id="1", message_id=str(number))
    assert client.flush(10)
    assert list(fake_ingest.stored) == ["0", "2"]
    assert len(fake_ingest.requests) == 1
    (failure,) = failures
    assert failure.kind == "refused"
    assert "type: too long" in failure.message
    (lost,) = failure.lost
    assert lost.message_id == "1"
    assert json.loads(lost.json)["type"] == "bad"
    assert client.counts() == Counts(waiting=0, delivered=2, refused=1, dropped=0)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_split_until_only_the_invalid_event_is_lost(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure], status: int
) -> None:
    fake_ingest.behavior = accept_if(lambda request: "13" not in request.ids, status)
    client = connect(interval=30)
    for number in range(100):
        client.track("t", user_id="1", message_id=str(number))
    assert client.flush(10)
    assert list(fake_ingest.stored) == [str(number) for number in range(100) if number != 13]
    assert fake_ingest.repeats == 0
    (failure,) = failures
    assert failure.kind == "refused"
    assert [event.message_id for event in failure.lost] == ["13"]


def test_a_server_with_a_lower_limit_gets_smaller_requests(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.behavior = accept_if(lambda request: len(request.ids) <= 50, 413)
    client = connect(interval=30)
    for _ in range(2000):
        client.track("t", user_id="1")
    assert client.flush(10)
    assert len(fake_ingest.stored) == 2000
    assert failures == []
    refused = sum(len(request.ids) > 50 for request in fake_ingest.requests)
    assert refused < len(fake_ingest.requests) / 3
    assert len(fake_ingest.requests) < 80


def test_a_closed_client_accepts_no_events(connect: Connect) -> None:
    client = connect()
    assert client.close()
    assert client.close()
    with pytest.raises(Closed):
        client.track("t", user_id="1")
    assert client.flush() is False


def test_close_delivers_the_queued_events(fake_ingest: FakeIngest) -> None:
    with Client("key", fake_ingest.url, interval=3600) as client:
        client.track("t", user_id="1")
    assert len(fake_ingest.stored) == 1


def test_an_exception_in_on_error_does_not_stop_the_client(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    def fails(_: Failure) -> None:
        raise RuntimeError

    fake_ingest.then(respond(503))
    client = connect(on_error=fails)
    client.track("t", user_id="1")
    assert client.flush(10)
    assert len(fake_ingest.stored) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "events.example.com"}, "endpoint"),
        ({"endpoint": "ftp://events.example.com"}, "endpoint"),
        ({"endpoint": "http://host:port"}, "[Pp]ort"),
        ({"endpoint": "http://host/?key=1"}, "endpoint"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": 1000 * "k"}, "api_key"),
        ({"when_full": "panic"}, "when_full"),
        ({"queue_bytes": 1}, "queue_bytes"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1001}, "batch_size"),
        ({"interval": -1}, "interval"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_the_constructor_refuses_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Client(**{"api_key": "key", "endpoint": "http://localhost", **options})
