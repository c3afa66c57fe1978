"""A full queue: the client drops the newest events and reports them, or `track` waits."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest

from fake_ingest import FakeIngest
from merganser_client import Client, Closed, Failure

Connect = Callable[..., Client]

LARGE = {"text": "x" * 50_000}
"""Data of an event; about twenty such events fit into the smallest queue."""

MIN_QUEUE_BYTES = 1 << 20


def fill(client: Client) -> int:
    """Track until the queue is full; return how many events it has."""
    dropped = client.counts().dropped
    while client.counts().dropped == dropped:
        client.track("t", user_id="1", data=LARGE)
    return client.counts().waiting


def test_the_newest_events_are_dropped_counted_and_reported(
    fake_ingest: FakeIngest, connect: Connect, failures: list[Failure]
) -> None:
    fake_ingest.stop()
    client = connect(queue_bytes=MIN_QUEUE_BYTES)
    for number in range(30):
        client.track("t", user_id="1", data=LARGE, message_id=str(number))
    counts = client.counts()
    assert counts.waiting + counts.dropped == 30
    assert 15 < counts.waiting < 25
    lost = [
        event.message_id for failure in failures if failure.kind == "full" for event in failure.lost
    ]
    assert lost == [str(number) for number in range(counts.waiting, 30)]
    fake_ingest.start()
    assert client.flush(20)
    assert list(fake_ingest.stored) == [str(number) for number in range(counts.waiting)]


def test_there_is_room_again_once_events_are_delivered(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    fake_ingest.stop()
    client = connect(queue_bytes=MIN_QUEUE_BYTES)
    capacity = fill(client)
    fake_ingest.start()
    assert client.flush(20)
    assert fill(client) > 0
    assert client.flush(20)
    assert len(fake_ingest.stored) >= 2 * capacity


def test_many_dropped_events_do_not_flood_the_log(
    fake_ingest: FakeIngest, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    fake_ingest.stop()
    client = connect(queue_bytes=MIN_QUEUE_BYTES)
    for _ in range(500):
        client.track("t", user_id="1", data=LARGE)
    assert sum("full" in record.message for record in caplog.records if record.levelno > 30) < 12


def test_blocked_threads_wait_and_lose_no_event(fake_ingest: FakeIngest, connect: Connect) -> None:
    fake_ingest.stop()
    client = connect(queue_bytes=MIN_QUEUE_BYTES, when_full="block", interval=3600)
    tracked: list[str] = []

    def send(name: int) -> None:
        for number in range(30):
            message_id = f"{name}-{number}"
            client.track("t", user_id="1", data=LARGE, message_id=message_id)
            tracked.append(message_id)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while client.counts().waiting < 18:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert all(thread.is_alive() for thread in threads)
    assert len(tracked) < 30
    fake_ingest.start()
    for thread in threads:
        thread.join(20)
    assert client.flush(20)
    assert set(fake_ingest.stored) == {
        f"{name}-{number}" for name in range(4) for number in range(30)
    }
    assert fake_ingest.repeats == 0
    assert client.counts().dropped == 0
    for name in range(4):
        ids = [id_ for id_ in fake_ingest.stored if id_.startswith(f"{name}-")]
        assert ids == [f"{name}-{number}" for number in range(30)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal")
def test_an_interrupted_track_sends_nothing(fake_ingest: FakeIngest, connect: Connect) -> None:
    fake_ingest.stop()
    client = connect(queue_bytes=MIN_QUEUE_BYTES, when_full="block")
    sent: list[str] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, interrupt)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            track_until_interrupted(client, sent)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    fake_ingest.start()
    assert client.close(20)
    assert list(fake_ingest.stored) == sent


def track_until_interrupted(client: Client, sent: list[str]) -> None:
    while True:
        message_id = str(len(sent))
        client.track("t", user_id="1", data=LARGE, message_id=message_id)
        sent.append(message_id)


def test_track_raises_closed_if_the_client_is_closed_while_it_waits(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    fake_ingest.stop()
    client = connect(queue_bytes=MIN_QUEUE_BYTES, when_full="block")
    errors: list[BaseException] = []

    def send() -> None:
        try:
            while True:
                client.track("t", user_id="1", data=LARGE)
        except Closed as closed:
            errors.append(closed)

    thread = threading.Thread(target=send)
    thread.start()
    deadline = time.monotonic() + 10
    while client.counts().waiting < 18:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not client.close(0.1)
    thread.join(10)
    assert len(errors) == 1
