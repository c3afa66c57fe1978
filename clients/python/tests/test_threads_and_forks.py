import os
import threading
from collections.abc import Callable

import pytest

from fake_ingest import FakeIngest, respond_after
from merganser_client import Client, Closed, Counts

Connect = Callable[..., Client]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_child(work: Callable[[], bool]) -> bool:
    """Run `work` in a forked child, and return its result."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_many_threads_share_one_sending_thread(fake_ingest: FakeIngest, connect: Connect) -> None:
    client = connect()
    start = threading.Barrier(16)

    def send(name: int) -> None:
        start.wait()
        for number in range(250):
            client.track("t", user_id=name + 1, message_id=f"{name}-{number}")

    threads = [threading.Thread(target=send, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(20)
    assert set(fake_ingest.stored) == {
        f"{name}-{number}" for name in range(16) for number in range(250)
    }
    assert fake_ingest.repeats == 0
    assert fake_ingest.connections_opened == 1
    assert client.counts() == Counts(waiting=0, delivered=4000, refused=0, dropped=0)


@forks
def test_a_child_has_an_empty_queue_and_its_own_thread(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    client = connect(interval=3600)
    client.track("t", user_id="1", message_id="parent, before")

    def work() -> bool:
        empty = client.counts() == Counts(waiting=0, delivered=0, refused=0, dropped=0)
        client.track("t", user_id="1", message_id="child")
        return empty and client.flush(10)

    assert in_child(work)
    assert set(fake_ingest.stored) == {"child"}
    client.track("t", user_id="1", message_id="parent, after")
    assert client.flush(10)
    assert list(fake_ingest.stored) == ["child", "parent, before", "parent, after"]
    assert fake_ingest.repeats == 0


@forks
def test_a_child_does_not_disturb_the_parents_request(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    client = connect(interval=0)
    fake_ingest.then(respond_after(0.5))
    client.track("t", user_id="1", message_id="parent")
    fake_ingest.wait_for(lambda: bool(fake_ingest.requests))

    def work() -> bool:
        client.track("t", user_id="1", message_id="child")
        return client.close(10)

    assert in_child(work)
    assert client.flush(10)
    assert sorted(fake_ingest.stored) == ["child", "parent"]
    assert fake_ingest.repeats == 0
    assert fake_ingest.connections_opened == 2


@forks
def test_a_child_does_not_keep_the_parents_connection_open(
    fake_ingest: FakeIngest, connect: Connect
) -> None:
    """The fork happens during a request of the parent."""
    client = connect(interval=0)
    fake_ingest.then(respond_after(0.5))
    client.track("t", user_id="1")
    fake_ingest.wait_for(lambda: bool(fake_ingest.requests))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0)
    try:
        assert client.close(10)
        fake_ingest.wait_for(lambda: fake_ingest.open_connections == 0, within=5)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


@forks
def test_forks_while_other_threads_track(fake_ingest: FakeIngest, connect: Connect) -> None:
    """A lock that another thread holds at the fork is never released in the child."""
    client = connect(when_full="block")  # a slow machine fills the queue
    done = threading.Event()
    sent = [0, 0, 0]

    def send(name: int) -> None:
        while not done.is_set():
            client.track("t", user_id="1", message_id=f"{name}-{sent[name]}")
            sent[name] += 1

    threads = [threading.Thread(target=send, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(30):

        def work(number: int = number) -> bool:
            client.track("t", user_id="1", message_id=f"child-{number}")
            return client.close(10)

        children.append(in_child(work))
    done.set()
    for thread in threads:
        thread.join()
    assert children == [True] * 30
    assert client.flush(20)
    expected = {f"{name}-{number}" for name in range(3) for number in range(sent[name])}
    assert set(fake_ingest.stored) == expected | {f"child-{number}" for number in range(30)}
    assert fake_ingest.repeats == 0


@forks
def test_a_child_of_a_closed_client_is_closed(connect: Connect) -> None:
    client = connect()
    client.track("t", user_id="1")
    client.close()

    def work() -> bool:
        try:
            client.track("t", user_id="1")
        except Closed:
            return True
        return False

    assert in_child(work)


def count_sending_threads() -> int:
    return sum(thread.name == "merganser-client" for thread in threading.enumerate())


def test_a_client_without_events_starts_no_thread(connect: Connect) -> None:
    before = count_sending_threads()
    client = connect()
    assert client.flush()
    assert count_sending_threads() == before
    assert client.close()


def test_close_ends_the_thread(connect: Connect) -> None:
    before = count_sending_threads()
    client = connect()
    client.track("t", user_id="1")
    assert count_sending_threads() == before + 1
    assert client.close()
    assert count_sending_threads() == before
