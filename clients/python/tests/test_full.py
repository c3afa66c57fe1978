"""A queue without room: the newest are dropped and told, or their senders wait."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest

from merganser_client import Client, Closed, Failure
from standin import Standin

Connect = Callable[..., Client]

LARGE = {"text": "x" * 50_000}
"""An event of which some twenty fit into the smallest queue."""

SMALLEST = 1 << 20


def fill(client: Client) -> int:
    """Track until the queue is full; how many it holds."""
    dropped = client.counts().dropped
    while client.counts().dropped == dropped:
        client.track("t", user_id="1", data=LARGE)
    return client.counts().waiting


def test_the_newest_events_are_dropped_counted_and_told(
    standin: Standin, connect: Connect, failures: list[Failure]
) -> None:
    standin.stop()
    client = connect(queue_bytes=SMALLEST)
    for number in range(30):
        client.track("t", user_id="1", data=LARGE, message_id=str(number))
    counts = client.counts()
    assert counts.waiting + counts.dropped == 30
    assert 15 < counts.waiting < 25
    lost = [event.message_id for one in failures if one.kind == "full" for event in one.lost]
    assert lost == [str(number) for number in range(counts.waiting, 30)]
    standin.start()
    assert client.flush(20)
    assert list(standin.taken) == [str(number) for number in range(counts.waiting)]


def test_there_is_room_again_once_events_are_delivered(standin: Standin, connect: Connect) -> None:
    standin.stop()
    client = connect(queue_bytes=SMALLEST)
    held = fill(client)
    standin.start()
    assert client.flush(20)
    assert fill(client) > 0
    assert client.flush(20)
    assert len(standin.taken) >= 2 * held


def test_a_flood_of_dropped_events_does_not_flood_the_log(
    standin: Standin, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    standin.stop()
    client = connect(queue_bytes=SMALLEST)
    for _ in range(500):
        client.track("t", user_id="1", data=LARGE)
    assert sum("full" in record.message for record in caplog.records if record.levelno > 30) < 12


def test_blocked_senders_wait_and_lose_nothing(standin: Standin, connect: Connect) -> None:
    standin.stop()
    client = connect(queue_bytes=SMALLEST, when_full="block", interval=3600)
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
    standin.start()
    for thread in threads:
        thread.join(20)
    assert client.flush(20)
    assert set(standin.taken) == {f"{name}-{number}" for name in range(4) for number in range(30)}
    assert standin.repeats == 0
    assert client.counts().dropped == 0
    for name in range(4):
        of_one = [one for one in standin.taken if one.startswith(f"{name}-")]
        assert of_one == [f"{name}-{number}" for number in range(30)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal")
def test_who_is_interrupted_while_waiting_sends_nothing(standin: Standin, connect: Connect) -> None:
    standin.stop()
    client = connect(queue_bytes=SMALLEST, when_full="block")
    sent: list[str] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            track_for_ever(client, sent)
    finally:
        signal.signal(signal.SIGUSR1, before)
    standin.start()
    assert client.close(20)
    assert list(standin.taken) == sent


def track_for_ever(client: Client, sent: list[str]) -> None:
    while True:
        message_id = str(len(sent))
        client.track("t", user_id="1", data=LARGE, message_id=message_id)
        sent.append(message_id)


def test_who_waits_for_room_is_told_of_the_end(standin: Standin, connect: Connect) -> None:
    standin.stop()
    client = connect(queue_bytes=SMALLEST, when_full="block")
    told: list[BaseException] = []

    def send() -> None:
        try:
            while True:
                client.track("t", user_id="1", data=LARGE)
        except Closed as closed:
            told.append(closed)

    thread = threading.Thread(target=send)
    thread.start()
    deadline = time.monotonic() + 10
    while client.counts().waiting < 18:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not client.close(0.1)
    thread.join(10)
    assert len(told) == 1
