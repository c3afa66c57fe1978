import os
import threading
from collections.abc import Callable

import pytest

from merganser_client import Client, Closed, Counts
from standin import Standin, answers_after

Connect = Callable[..., Client]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` said yes in a forked child."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_many_threads_send_by_one(standin: Standin, connect: Connect) -> None:
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
    assert set(standin.taken) == {f"{name}-{number}" for name in range(16) for number in range(250)}
    assert standin.repeats == 0
    assert standin.connections_made == 1
    assert client.counts() == Counts(waiting=0, delivered=4000, refused=0, dropped=0)


@forks
def test_a_child_has_an_empty_queue_and_a_thread_of_its_own(
    standin: Standin, connect: Connect
) -> None:
    client = connect(interval=3600)
    client.track("t", user_id="1", message_id="parent, before")

    def work() -> bool:
        empty = client.counts() == Counts(waiting=0, delivered=0, refused=0, dropped=0)
        client.track("t", user_id="1", message_id="child")
        return empty and client.flush(10)

    assert in_child(work)
    assert set(standin.taken) == {"child"}
    client.track("t", user_id="1", message_id="parent, after")
    assert client.flush(10)
    assert list(standin.taken) == ["child", "parent, before", "parent, after"]
    assert standin.repeats == 0


@forks
def test_a_child_does_not_disturb_a_request_under_way(standin: Standin, connect: Connect) -> None:
    client = connect(interval=0)
    standin.then(answers_after(0.5))
    client.track("t", user_id="1", message_id="parent")
    standin.until(lambda: bool(standin.requests))

    def work() -> bool:
        client.track("t", user_id="1", message_id="child")
        return client.close(10)

    assert in_child(work)
    assert client.flush(10)
    assert sorted(standin.taken) == ["child", "parent"]
    assert standin.repeats == 0
    assert standin.connections_made == 2


@forks
def test_a_child_does_not_keep_the_parents_connection_open(
    standin: Standin, connect: Connect
) -> None:
    """Forked amid a request, of which it never sees the end."""
    client = connect(interval=0)
    standin.then(answers_after(0.5))
    client.track("t", user_id="1")
    standin.until(lambda: bool(standin.requests))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent has seen what it wants to see
        os._exit(0)
    try:
        assert client.close(10)
        standin.until(lambda: standin.connections_open == 0, within=5)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


@forks
def test_forks_amid_threads_that_track(standin: Standin, connect: Connect) -> None:
    """A lock that another thread holds at the fork would be held in the child for ever."""
    client = connect()
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
    assert set(standin.taken) == expected | {f"child-{number}" for number in range(30)}
    assert standin.repeats == 0


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


def senders() -> int:
    return sum(thread.name == "merganser-client" for thread in threading.enumerate())


def test_a_client_that_tracks_nothing_starts_no_thread(connect: Connect) -> None:
    before = senders()
    client = connect()
    assert client.flush()
    assert senders() == before
    assert client.close()


def test_the_thread_ends_with_the_client(connect: Connect) -> None:
    before = senders()
    client = connect()
    client.track("t", user_id="1")
    assert senders() == before + 1
    assert client.close()
    assert senders() == before
