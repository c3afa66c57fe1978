"""The queue by itself: no thread but the test's, unless it says so."""

import threading
import time
from collections.abc import Callable

import pytest

from merganser_client.backlog import Backlog, Counts
from merganser_client.event import Event
from merganser_client.failure import Closed


def event(name: str, size: int = 100) -> Event:
    return Event(name, b"x" * size)


def backlog(most_bytes: int = 10_000, batch_bytes: int = 5_000, interval: float = 0) -> Backlog:
    return Backlog(most_bytes, batch_bytes, interval)


def names(events: list[Event]) -> list[str]:
    return [one.message_id for one in events]


def test_a_batch_stays_until_it_is_settled() -> None:
    queue = backlog()
    for name in "abc":
        assert queue.offer(event(name))
    assert names(queue.take(2)) == ["a", "b"]
    assert names(queue.take(1)) == ["a"]
    queue.settle(1, refused=0)
    assert names(queue.take(9)) == ["b", "c"]
    queue.settle(2, refused=1)
    assert queue.counts() == Counts(waiting=0, delivered=2, refused=1, dropped=0)


def test_a_batch_is_bounded_by_bytes() -> None:
    queue = backlog()
    for name in "abc":
        queue.offer(event(name, 2_000))
    assert names(queue.take(9)) == ["a", "b"]


def test_nobody_overtakes_who_waits_for_room() -> None:
    queue = backlog()
    queue.offer(event("a", 8_000))
    large, small = queue.put(event("large", 5_000)), queue.put(event("small", 10))
    assert not large.done()
    assert not small.done()
    assert not queue.offer(event("another", 10))
    queue.settle(1, refused=0)
    assert large.done()
    assert small.done()
    queue.settle(1, refused=0)
    assert names(queue.take(9)) == ["small"]


def test_who_gave_up_waiting_holds_up_nobody() -> None:
    queue = backlog()
    queue.offer(event("a", 4_000))
    queue.offer(event("b", 4_000))
    assert queue.put(event("large", 9_000)).cancel()
    small = queue.put(event("small", 10))
    queue.settle(1, refused=0)
    assert small.done()
    queue.settle(1, refused=0)
    assert names(queue.take(9)) == ["small"]


def test_a_flush_is_over_when_what_was_there_is_settled() -> None:
    queue = backlog()
    queue.offer(event("a"))
    queue.offer(event("b"))
    first = queue.flush()
    queue.offer(event("c"))
    second = queue.flush()
    queue.settle(1, refused=0)
    assert not first.done()
    queue.settle(1, refused=0)
    assert first.result(0) is True
    assert not second.done()
    queue.settle(1, refused=0)
    assert second.result(0) is True
    assert queue.flush().result(0) is True


def test_an_event_waits_for_others_unless_somebody_flushes() -> None:
    queue = backlog(interval=3600)
    queue.offer(event("a"))
    queue.flush()
    assert names(queue.take(9)) == ["a"]


def test_close_cuts_one_pause_short_and_no_more() -> None:
    """One more attempt at once; after it a gateway that is away is not asked without end."""
    queue = backlog()
    queue.close()
    start = time.monotonic()
    queue.pause(60)
    assert time.monotonic() - start < 10
    queue.pause(0.2)
    assert time.monotonic() - start >= 0.2


def test_a_closed_queue_gives_what_it_has_and_takes_nothing() -> None:
    queue = backlog(interval=3600)
    queue.offer(event("a"))
    queue.close()
    with pytest.raises(Closed):
        queue.offer(event("b"))
    with pytest.raises(Closed):
        queue.put(event("b"))
    assert names(queue.take(9)) == ["a"]
    queue.settle(1, refused=0)
    assert queue.take(9) == []


def test_what_is_given_up_is_settled_by_nobody_else() -> None:
    queue = backlog()
    queue.offer(event("a", 8_000))
    waiting, flushed = queue.put(event("b", 8_000)), queue.flush()
    assert names(list(queue.abandon())) == ["a"]
    queue.settle(1, refused=1)
    assert queue.counts() == Counts(waiting=0, delivered=0, refused=0, dropped=1)
    assert flushed.result(0) is False
    assert isinstance(waiting.exception(0), Closed)
    assert queue.abandon() == ()
    assert queue.take(9) == []


@pytest.mark.parametrize("end", [Backlog.close, Backlog.abandon])
def test_the_end_wakes_who_takes(end: Callable[[Backlog], object]) -> None:
    queue = backlog()
    taken: list[list[Event]] = []
    taking = threading.Thread(target=lambda: taken.append(queue.take(9)))
    taking.start()
    end(queue)
    taking.join(10)
    assert taken == [[]]
