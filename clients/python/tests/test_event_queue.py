"""The queue alone: the test is its only thread, unless it starts another."""

import threading
import time
from collections.abc import Callable

import pytest

from merganser_client.event import Event
from merganser_client.event_queue import Counts, EventQueue
from merganser_client.failure import Closed


def event(name: str, size: int = 100) -> Event:
    return Event(name, b"x" * size)


def create_queue(
    max_bytes: int = 10_000, batch_bytes: int = 5_000, interval: float = 0
) -> EventQueue:
    return EventQueue(max_bytes, batch_bytes, interval)


def names(events: list[Event]) -> list[str]:
    return [event.message_id for event in events]


def test_a_batch_stays_in_the_queue_until_it_is_settled() -> None:
    queue = create_queue()
    for name in "abc":
        assert queue.put_if_room(event(name))
    assert names(queue.next_batch(2)) == ["a", "b"]
    assert names(queue.next_batch(1)) == ["a"]
    queue.settle(1, refused=0)
    assert names(queue.next_batch(9)) == ["b", "c"]
    queue.settle(2, refused=1)
    assert queue.counts() == Counts(waiting=0, delivered=2, refused=1, dropped=0)


def test_a_batch_is_bounded_by_bytes() -> None:
    queue = create_queue()
    for name in "abc":
        queue.put_if_room(event(name, 2_000))
    assert names(queue.next_batch(9)) == ["a", "b"]


def test_no_event_overtakes_one_that_waits_for_room() -> None:
    queue = create_queue()
    queue.put_if_room(event("a", 8_000))
    large, small = (
        queue.put_when_room(event("large", 5_000)),
        queue.put_when_room(event("small", 10)),
    )
    assert not large.done()
    assert not small.done()
    assert not queue.put_if_room(event("another", 10))
    queue.settle(1, refused=0)
    assert large.done()
    assert small.done()
    queue.settle(1, refused=0)
    assert names(queue.next_batch(9)) == ["small"]


def test_an_event_whose_caller_stopped_waiting_does_not_block_others() -> None:
    queue = create_queue()
    queue.put_if_room(event("a", 4_000))
    queue.put_if_room(event("b", 4_000))
    assert queue.put_when_room(event("large", 9_000)).cancel()
    small = queue.put_when_room(event("small", 10))
    queue.settle(1, refused=0)
    assert small.done()
    queue.settle(1, refused=0)
    assert names(queue.next_batch(9)) == ["small"]


def test_a_flush_is_done_when_the_events_before_it_are_settled() -> None:
    queue = create_queue()
    queue.put_if_room(event("a"))
    queue.put_if_room(event("b"))
    first = queue.flush()
    queue.put_if_room(event("c"))
    second = queue.flush()
    queue.settle(1, refused=0)
    assert not first.done()
    queue.settle(1, refused=0)
    assert first.result(0) is True
    assert not second.done()
    queue.settle(1, refused=0)
    assert second.result(0) is True
    assert queue.flush().result(0) is True


def test_an_event_waits_for_others_until_a_flush() -> None:
    queue = create_queue(interval=3600)
    queue.put_if_room(event("a"))
    queue.flush()
    assert names(queue.next_batch(9)) == ["a"]


def test_close_cuts_only_one_wait_short() -> None:
    """One more attempt at once; the waits after it protect a server that does not respond."""
    queue = create_queue()
    queue.close()
    start = time.monotonic()
    queue.wait_before_retry(60)
    assert time.monotonic() - start < 10
    queue.wait_before_retry(0.2)
    assert time.monotonic() - start >= 0.2


def test_a_closed_queue_returns_its_events_and_accepts_no_others() -> None:
    queue = create_queue(interval=3600)
    queue.put_if_room(event("a"))
    queue.close()
    with pytest.raises(Closed):
        queue.put_if_room(event("b"))
    with pytest.raises(Closed):
        queue.put_when_room(event("b"))
    assert names(queue.next_batch(9)) == ["a"]
    queue.settle(1, refused=0)
    assert queue.next_batch(9) == []


def test_abandoned_events_cannot_be_settled() -> None:
    queue = create_queue()
    queue.put_if_room(event("a", 8_000))
    waiting, flushed = queue.put_when_room(event("b", 8_000)), queue.flush()
    assert names(list(queue.abandon())) == ["a"]
    queue.settle(1, refused=1)
    assert queue.counts() == Counts(waiting=0, delivered=0, refused=0, dropped=1)
    assert flushed.result(0) is False
    assert isinstance(waiting.exception(0), Closed)
    assert queue.abandon() == ()
    assert queue.next_batch(9) == []


@pytest.mark.parametrize("end", [EventQueue.close, EventQueue.abandon])
def test_close_and_abandon_wake_the_sending_thread(end: Callable[[EventQueue], object]) -> None:
    queue = create_queue()
    batches: list[list[Event]] = []
    sending = threading.Thread(target=lambda: batches.append(queue.next_batch(9)))
    sending.start()
    end(queue)
    sending.join(10)
    assert batches == [[]]
