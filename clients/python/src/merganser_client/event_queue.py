"""The queue of events that are not delivered yet: many threads put events, one thread sends them.

A batch that is being sent stays at the head of the queue until the server has decided on each of
its events. So neither a failed request nor the end of the program loses sight of an event.
"""

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from merganser_client.event import Event
from merganser_client.failure import Closed

_OVERHEAD_BYTES = 200
"""Bytes of memory that an event takes besides its JSON."""


@dataclass(frozen=True)
class Counts:
    """Numbers of events by state."""

    waiting: int
    """In the queue: neither delivered nor given up."""
    delivered: int
    refused: int
    """Lost: the server will never accept them."""
    dropped: int
    """Lost: the queue was full, or the client was closed before it delivered them."""


class EventQueue:
    """A queue bounded by memory.

    Methods that wait return a future: a thread waits for its result, a coroutine awaits it.
    """

    def __init__(self, max_bytes: int, batch_bytes: int, interval: float) -> None:
        """Create an empty queue.

        Args:
            max_bytes: the most bytes of memory.
            batch_bytes: the most bytes of JSON in a batch.
            interval: seconds that an event waits for others to share its batch.
        """
        self._max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        self._interval = interval
        self._changed = threading.Condition()
        """Only the sending thread waits for it."""
        self._requested = 0
        """The batch size that the sending thread waits for; 0 while it does not wait."""
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._oldest = 0.0
        self._added = self._delivered = self._refused = self._dropped = 0
        self._blocked: deque[tuple[Event, Future[None]]] = deque()
        self._flushes: list[tuple[int, Future[bool]]] = []
        self._closing = self._skip_wait = self._abandoned = False

    @property
    def closing(self) -> bool:
        """Whether the queue accepts no more events."""
        return self._closing

    def put_if_room(self, event: Event) -> bool:
        """Add an event if there is room, and return whether there was.

        Raises:
            Closed: after `close`.
        """
        with self._changed:
            if self._has_room(event):
                self._append(event)
                return True
            self._dropped += 1
            return False

    def put_when_room(self, event: Event) -> Future[None]:
        """Add an event as soon as there is room, in the order of the calls.

        Returns:
            A future that is done when the event is in the queue. Cancel it to give up. It raises
            Closed if the queue is abandoned first.

        Raises:
            Closed: after `close`.
        """
        queued: Future[None] = Future()
        with self._changed:
            if self._has_room(event):
                self._append(event)
                queued.set_result(None)
            else:
                self._blocked.append((event, queued))
                self._changed.notify()
        return queued

    def flush(self) -> Future[bool]:
        """Let the next batch start at once.

        Returns:
            A future: True once the events queued so far are delivered or refused, False if the
            queue is abandoned first.
        """
        settled: Future[bool] = Future()
        with self._changed:
            if self._events:
                self._flushes.append((self._added, settled))
                self._changed.notify()
            else:
                settled.set_result(not self._abandoned)
        return settled

    def next_batch(self, max_events: int) -> list[Event]:
        """Wait for a batch and return it. Its events stay in the queue until `settle`.

        Returns:
            At most `max_events` events; none when the queue is closed and empty, or abandoned.
        """
        with self._changed:
            self._requested = max_events
            while not self._ready():
                left = self._oldest + self._interval - time.monotonic() if self._events else None
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            self._requested = 0
            return self._head(max_events)

    def wait_before_retry(self, seconds: float) -> None:
        """Wait. `close` cuts one wait short, the current or the next; `abandon` cuts all short."""
        with self._changed:
            self._changed.wait_for(lambda: self._skip_wait or self._abandoned, seconds)
            self._skip_wait = False

    def settle(self, count: int, refused: int) -> None:
        """Remove the first `count` events, of which `refused` were refused.

        It does nothing after `abandon`, which has removed and counted them already.
        """
        with self._changed:
            if self._abandoned:
                return
            for _ in range(count):
                self._bytes -= _size(self._events.popleft())
            self._refused += refused
            self._delivered += count - refused
            self._oldest = time.monotonic()
            self._admit_blocked()
            self._finish_flushes(self._added - len(self._events), all_settled=True)

    def close(self) -> None:
        """Accept no more events, and let the next batch or retry start at once."""
        with self._changed:
            self._closing = self._skip_wait = True
            self._changed.notify()

    def abandon(self) -> tuple[Event, ...]:
        """Close the queue, remove the events that are not settled, and return them."""
        with self._changed:
            self._closing = self._abandoned = True
            lost = tuple(self._events)
            self._events.clear()
            self._bytes = 0
            self._dropped += len(lost)
            for _, queued in self._blocked:
                if queued.set_running_or_notify_cancel():
                    queued.set_exception(Closed("the client was closed while its queue was full"))
            self._blocked.clear()
            self._finish_flushes(self._added, all_settled=False)
            self._changed.notify()
            return lost

    def counts(self) -> Counts:
        """Return how many events are waiting, delivered, refused and dropped."""
        with self._changed:
            return Counts(len(self._events), self._delivered, self._refused, self._dropped)

    def _has_room(self, event: Event) -> bool:
        if self._closing:
            raise Closed("the client is closed")
        return not self._blocked and self._fits(event)

    def _fits(self, event: Event) -> bool:
        return self._bytes + _size(event) <= self._max_bytes

    def _append(self, event: Event) -> None:
        self._events.append(event)
        self._added += 1
        self._bytes += _size(event)
        first = len(self._events) == 1
        if first:
            self._oldest = time.monotonic()
        if self._requested and (first or self._has_full_batch()):
            self._changed.notify()

    def _has_full_batch(self) -> bool:
        return len(self._events) >= self._requested or self._bytes >= self._batch_bytes

    def _ready(self) -> bool:
        if self._closing or not self._events:
            return self._closing
        return bool(self._flushes or self._blocked) or self._has_full_batch()

    def _head(self, max_events: int) -> list[Event]:
        batch: list[Event] = []
        size = 0
        for event in self._events:
            size += len(event.json) + 1
            if len(batch) == max_events or size > self._batch_bytes:
                break
            batch.append(event)
        return batch

    def _admit_blocked(self) -> None:
        """Add the events that wait for room, in order, until the queue is full again."""
        while self._blocked:
            event, queued = self._blocked[0]
            if not queued.cancelled() and not self._fits(event):
                return
            self._blocked.popleft()
            if queued.set_running_or_notify_cancel():
                self._append(event)
                queued.set_result(None)

    def _finish_flushes(self, settled: int, *, all_settled: bool) -> None:
        """Complete the flushes that wait for no more than the first `settled` events."""
        while self._flushes and self._flushes[0][0] <= settled:
            _, done = self._flushes.pop(0)
            if done.set_running_or_notify_cancel():
                done.set_result(all_settled)


def _size(event: Event) -> int:
    return len(event.json) + _OVERHEAD_BYTES
