"""Failures of the server and the network: each event arrives, once by its messageId."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from fake_ingest import Behavior, FakeIngest, disconnect, respond, respond_after
from merganser_client import Client, Counts, Failure

Connect = Callable[..., Client]


def track(client: Client, count: int, first: int = 0) -> list[str]:
    ids = [str(number) for number in range(first, first + count)]
    for message_id in ids:
        client.track("t", user_id="1", message_id=message_id)
    return ids


@pytest.mark.parametrize(
    "behaviors",
    [
        pytest.param([respond(503)] * 5, id="busy for a while"),
        pytest.param([respond(429, Retry_After="0")] * 3, id="too many requests"),
        pytest.param([respond(500), respond(502), respond(504)], id="several server errors"),
        pytest.param([disconnect(store=False)] * 3, id="connection cut, nothing stored"),
        pytest.param(
            [disconnect(store=True)] * 3, id="connection cut after the request was stored"
        ),
        pytest.param([respond_after(0.4)] * 2, id="responses after the timeout"),
        pytest.param([respond(401), respond(403), respond(404)], id="misconfigured for a while"),
        pytest.param([respond(200, text="<html>welcome</html>")] * 2, id="a captive portal"),
        pytest.param([respond(200, text="")], id="an empty response"),
    ],
)
def test_every_event_arrives_once(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure], behaviors: list[Behavior]
) -> None:
    fake_ingest.then(*behaviors)
    client = connect(batch_size=20, timeout=0.2)
    ids = track(client, 100)
    assert client.flush(20)
    assert list(fake_ingest.stored) == ids
    assert len(fake_ingest.requests) >= len(behaviors) + 5
    assert client.counts() == Counts(waiting=0, delivered=100, refused=0, dropped=0)
    assert [failure.lost for failure in failures] == [()] * len(failures)


def test_a_retry_sends_the_same_events_with_a_new_sent_at(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    fake_ingest.then(disconnect(store=True))
    client = connect()
    track(client, 1)
    assert client.flush(10)
    first, second = (request.body for request in fake_ingest.requests)
    assert first["events"] == second["events"]
    assert first["sentAt"] < second["sentAt"]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_respected(fake_ingest: FakeIngest, connect: Connect, status: int) -> None:
    fake_ingest.then(respond(status, Retry_After="1"))
    client = connect()
    track(client, 1)
    assert client.flush(10)
    first, second = fake_ingest.requests
    assert second.at - first.at >= 1


def test_delays_grow_up_to_the_longest(fake_ingest: FakeIngest, connect: Connect) -> None:
    fake_ingest.then(*[respond(503)] * 12)
    client = connect(first_delay=0.001, longest_delay=0.1)
    track(client, 1)
    assert client.flush(10)
    gaps = [later.at - earlier.at for earlier, later in pairwise(fake_ingest.requests)]
    assert sum(gaps[:5]) < sum(gaps[-5:])
    assert sum(gaps) < 3


def test_an_outage_of_a_minute_at_thirty_times_the_speed(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.stop()
    client = connect(first_delay=0.2 / 30, longest_delay=10 / 30)
    end = time.monotonic() + 60 / 30
    ids: list[str] = []
    while time.monotonic() < end:
        ids += track(client, 20, first=len(ids))
        time.sleep(0.01)
    assert client.counts().waiting == len(ids)
    fake_ingest.start()
    assert client.flush(20)
    assert list(fake_ingest.stored) == ids
    assert fake_ingest.repeats == 0
    assert {(failure.kind, failure.lost) for failure in failures} == {("unreachable", ())}


def test_many_restarts_of_the_server_under_load(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect(batch_size=50)
    done = threading.Event()

    def restart_server() -> None:
        while not done.wait(0.05):
            fake_ingest.stop()
            fake_ingest.start()

    restarting = threading.Thread(target=restart_server)
    restarting.start()
    ids: list[str] = []
    for _ in range(100):
        ids += track(client, 50, first=len(ids))
        time.sleep(0.01)
    done.set()
    restarting.join()
    assert client.flush(20)
    assert list(fake_ingest.stored) == ids


def test_an_idle_connection_that_the_server_closed_is_not_a_failure(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    client = connect()
    track(client, 1)
    assert client.flush(10)
    fake_ingest.stop()
    fake_ingest.start()
    track(client, 1, first=1)
    assert client.flush(10)
    assert list(fake_ingest.stored) == ["0", "1"]
    assert failures == []


def test_the_connection_is_reused(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect()
    for number in range(5):
        track(client, 1, first=number)
        assert client.flush(10)
    assert fake_ingest.connections_opened == 1


def test_a_failure_is_reported_once_however_long_it_lasts(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.then(*[respond(503)] * 5, *[respond(401)] * 5, *[respond(503)] * 2)
    client = connect()
    track(client, 1)
    assert client.flush(10)
    assert [failure.kind for failure in failures] == ["unreachable", "misconfigured", "unreachable"]
    assert "503" in failures[0].message
    assert "401" in failures[1].message


def test_neither_key_nor_payload_is_logged(
    fake_ingest: FakeIngest, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    fake_ingest.then(respond(503), respond(401), disconnect(store=False))
    fake_ingest.refusal = lambda _: "type: no"
    client = connect(on_error=None)
    client.track("secret-type", user_id="secret-user", data={"secret-key": "secret-value"})
    assert client.flush(10)
    assert {"WARNING", "ERROR"} <= {record.levelname for record in caplog.records}
    assert "secret" not in caplog.text
    assert '"key"' not in caplog.text


def test_close_returns_after_close_timeout_and_reports_the_loss(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.behavior = respond(503, Retry_After="60")
    client = connect(close_timeout=0.3)
    ids = track(client, 10)
    fake_ingest.wait_for(lambda: bool(fake_ingest.requests))
    start = time.monotonic()
    assert not client.close()
    assert 0.3 <= time.monotonic() - start < 2
    assert failures[-1].kind == "closed"
    assert [event.message_id for event in failures[-1].lost] == ids
    assert client.counts() == Counts(waiting=0, delivered=0, refused=0, dropped=10)


def test_close_retries_once_at_once(fake_ingest: FakeIngest, connect: Connect) -> None:
    fake_ingest.then(respond(503, Retry_After="60"))
    client = connect()
    track(client, 1)
    fake_ingest.wait_for(lambda: bool(fake_ingest.requests))
    start = time.monotonic()
    assert client.close(10)
    assert time.monotonic() - start < 5
    assert list(fake_ingest.stored) == ["0"]


def test_close_does_not_wait_for_a_server_that_never_responds(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.behavior = respond_after(5)
    client = connect()
    track(client, 1)
    fake_ingest.wait_for(lambda: bool(fake_ingest.requests))
    assert not client.close(0.2)
    assert failures[-1].kind == "closed"


def test_flush_returns_false_after_its_timeout_and_keeps_the_events(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    client = connect()
    fake_ingest.then(respond_after(0.5))
    track(client, 1)
    assert not client.flush(0.05)
    assert client.flush(10)
    assert list(fake_ingest.stored) == ["0"]
