"""What goes wrong on the way: each event arrives once, by its messageId."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from merganser_client import Client, Counts, Failure
from standin import Behaviour, Standin, answers_after, cuts, says

Connect = Callable[..., Client]


def track(client: Client, count: int, first: int = 0) -> list[str]:
    ids = [str(number) for number in range(first, first + count)]
    for message_id in ids:
        client.track("t", user_id="1", message_id=message_id)
    return ids


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param([says(503)] * 5, id="busy for a while"),
        pytest.param([says(429, Retry_After="0")] * 3, id="too many requests"),
        pytest.param([says(500), says(502), says(504)], id="broken in many ways"),
        pytest.param([cuts(take=False)] * 3, id="connection cut, nothing stored"),
        pytest.param([cuts(take=True)] * 3, id="connection cut after the request was stored"),
        pytest.param([answers_after(0.4)] * 2, id="answers come too late"),
        pytest.param([says(401), says(403), says(404)], id="misconfigured for a while"),
        pytest.param([says(200, text="<html>welcome</html>")] * 2, id="a portal in between"),
        pytest.param([says(200, text="")], id="an empty answer"),
    ],
)
def test_every_event_arrives_once(
    standin: Standin, connect: Connect, failures: list[Failure], trouble: list[Behaviour]
) -> None:
    standin.then(*trouble)
    client = connect(batch_size=20, timeout=0.2)
    ids = track(client, 100)
    assert client.flush(20)
    assert list(standin.taken) == ids
    assert len(standin.requests) >= len(trouble) + 5
    assert client.counts() == Counts(waiting=0, delivered=100, refused=0, dropped=0)
    assert [failure.lost for failure in failures] == [()] * len(failures)


def test_what_is_sent_again_is_the_same_but_for_the_time_of_sending(
    standin: Standin, connect: Connect
) -> None:
    standin.then(cuts(take=True))
    client = connect()
    track(client, 1)
    assert client.flush(10)
    first, second = (request.body for request in standin.requests)
    assert first["events"] == second["events"]
    assert first["sentAt"] < second["sentAt"]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(standin: Standin, connect: Connect, status: int) -> None:
    standin.then(says(status, Retry_After="1"))
    client = connect()
    track(client, 1)
    assert client.flush(10)
    first, second = standin.requests
    assert second.at - first.at >= 1


def test_delays_grow_but_not_for_ever(standin: Standin, connect: Connect) -> None:
    standin.then(*[says(503)] * 12)
    client = connect(first_delay=0.001, longest_delay=0.1)
    track(client, 1)
    assert client.flush(10)
    gaps = [later.at - earlier.at for earlier, later in pairwise(standin.requests)]
    assert sum(gaps[:5]) < sum(gaps[-5:])
    assert sum(gaps) < 3


def test_away_for_a_minute_of_a_clock_that_runs_thirty_times_as_fast(
    standin: Standin, connect: Connect, failures: list[Failure]
) -> None:
    standin.stop()
    client = connect(first_delay=0.2 / 30, longest_delay=10 / 30)
    end = time.monotonic() + 60 / 30
    ids: list[str] = []
    while time.monotonic() < end:
        ids += track(client, 20, first=len(ids))
        time.sleep(0.01)
    assert client.counts().waiting == len(ids)
    standin.start()
    assert client.flush(20)
    assert list(standin.taken) == ids
    assert standin.repeats == 0
    assert {(failure.kind, failure.lost) for failure in failures} == {("unreachable", ())}


def test_gone_and_back_again_and_again_under_load(standin: Standin, connect: Connect) -> None:
    client = connect(batch_size=50)
    done = threading.Event()

    def come_and_go() -> None:
        while not done.wait(0.05):
            standin.stop()
            standin.start()

    restarting = threading.Thread(target=come_and_go)
    restarting.start()
    ids: list[str] = []
    for _ in range(100):
        ids += track(client, 50, first=len(ids))
        time.sleep(0.01)
    done.set()
    restarting.join()
    assert client.flush(20)
    assert list(standin.taken) == ids


def test_an_idle_connection_that_the_server_closed_is_no_failure(
    standin: Standin, connect: Connect, failures: list[Failure]
) -> None:
    client = connect()
    track(client, 1)
    assert client.flush(10)
    standin.stop()
    standin.start()
    track(client, 1, first=1)
    assert client.flush(10)
    assert list(standin.taken) == ["0", "1"]
    assert failures == []


def test_a_connection_is_used_again(standin: Standin, connect: Connect) -> None:
    client = connect()
    for number in range(5):
        track(client, 1, first=number)
        assert client.flush(10)
    assert standin.connections_made == 1


def test_a_failure_is_told_once_however_long_it_lasts(
    standin: Standin, connect: Connect, failures: list[Failure]
) -> None:
    standin.then(*[says(503)] * 5, *[says(401)] * 5, *[says(503)] * 2)
    client = connect()
    track(client, 1)
    assert client.flush(10)
    assert [failure.kind for failure in failures] == ["unreachable", "misconfigured", "unreachable"]
    assert "503" in failures[0].message
    assert "401" in failures[1].message


def test_neither_key_nor_payload_is_logged(
    standin: Standin, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    standin.then(says(503), says(401), cuts(take=False))
    standin.refuses = lambda _: "type: no"
    client = connect(on_error=None)
    client.track("secret-type", user_id="secret-user", data={"secret-key": "secret-value"})
    assert client.flush(10)
    assert {"WARNING", "ERROR"} <= {record.levelname for record in caplog.records}
    assert "secret" not in caplog.text
    assert '"key"' not in caplog.text


def test_close_ends_in_time_and_says_what_is_lost(
    standin: Standin, connect: Connect, failures: list[Failure]
) -> None:
    standin.behaviour = says(503, Retry_After="60")
    client = connect(close_timeout=0.3)
    ids = track(client, 10)
    standin.until(lambda: bool(standin.requests))
    start = time.monotonic()
    assert not client.close()
    assert 0.3 <= time.monotonic() - start < 2
    assert failures[-1].kind == "closed"
    assert [event.message_id for event in failures[-1].lost] == ids
    assert client.counts() == Counts(waiting=0, delivered=0, refused=0, dropped=10)


def test_close_tries_once_more_at_once(standin: Standin, connect: Connect) -> None:
    standin.then(says(503, Retry_After="60"))
    client = connect()
    track(client, 1)
    standin.until(lambda: bool(standin.requests))
    start = time.monotonic()
    assert client.close(10)
    assert time.monotonic() - start < 5
    assert list(standin.taken) == ["0"]


def test_close_does_not_wait_for_a_server_that_never_answers(
    standin: Standin, connect: Connect, failures: list[Failure]
) -> None:
    standin.behaviour = answers_after(5)
    client = connect()
    track(client, 1)
    standin.until(lambda: bool(standin.requests))
    assert not client.close(0.2)
    assert failures[-1].kind == "closed"


def test_flush_gives_up_in_time_and_the_events_stay(standin: Standin, connect: Connect) -> None:
    client = connect()
    standin.then(answers_after(0.5))
    track(client, 1)
    assert not client.flush(0.05)
    assert client.flush(10)
    assert list(standin.taken) == ["0"]
