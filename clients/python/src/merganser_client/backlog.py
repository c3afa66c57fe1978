"""Events that are not settled yet: many threads put them, one takes them.

One queue, first in, first out: what is under way stays at its head until it is settled, so that no
failure and no end of the program finds an event between two places.
"""

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from merganser_client.event import Event
from merganser_client.failure import Closed

_AROUND_EVENT = 200
"""Bytes of memory that an event takes beside its JSON."""


@dataclass(frozen=True)
class Counts:
    """What became of the events so far."""

    waiting: int
    """Tracked, and neither delivered nor given up."""
    delivered: int
    refused: int
    """Lost: the gateway will not have them."""
    dropped: int
    """Lost for want of room or, at the end, of time."""


class Backlog:
    """A queue bounded by memory.

    Whoever has to wait gets a future: a thread waits for its result, a coroutine awaits it.
    """

    def __init__(self, most_bytes: int, batch_bytes: int, interval: float) -> None:
        """An empty queue.

        Args:
            most_bytes: of memory.
            batch_bytes: the most JSON of a batch.
            interval: seconds that an event waits for others to travel with.
        """
        self._most_bytes = most_bytes
        self._batch_bytes = batch_bytes
        self._interval = interval
        self._changed = threading.Condition()
        """Nobody waits for it but the one who takes."""
        self._wanted = 0
        """How many events the one who takes is waiting for; 0 while it does something else."""
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._oldest = 0.0
        self._added = self._delivered = self._refused = self._dropped = 0
        self._entering: deque[tuple[Event, Future[None]]] = deque()
        self._flushes: list[tuple[int, Future[bool]]] = []
        self._closing = self._hurried = self._abandoned = False

    @property
    def closing(self) -> bool:
        """Whether it takes no more events."""
        return self._closing

    def offer(self, event: Event) -> bool:
        """Put an event if there is room, and say whether there was.

        Raises:
            Closed: by `close`.
        """
        with self._changed:
            if self._admits(event):
                self._append(event)
                return True
            self._dropped += 1
            return False

    def put(self, event: Event) -> Future[None]:
        """Put an event as soon as there is room, in the order of calls; to give up, cancel.

        Raises:
            Closed: by `close`. The future has it when there was no room until the end.
        """
        entered: Future[None] = Future()
        with self._changed:
            if self._admits(event):
                self._append(event)
                entered.set_result(None)
            else:
                self._entering.append((event, entered))
                self._changed.notify()
        return entered

    def flush(self) -> Future[bool]:
        """Hurry. The future is True once all that is here now is settled, and False if never."""
        settled: Future[bool] = Future()
        with self._changed:
            if self._events:
                self._flushes.append((self._added, settled))
                self._changed.notify()
            else:
                settled.set_result(not self._abandoned)
        return settled

    def take(self, most: int) -> list[Event]:
        """Wait for a batch, which stays here until it is settled.

        Returns:
            At most `most` events; none when the queue is closed and empty, or given up.
        """
        with self._changed:
            self._wanted = most
            while not self._ready():
                left = self._oldest + self._interval - time.monotonic() if self._events else None
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            self._wanted = 0
            return self._head(most)

    def pause(self, seconds: float) -> None:
        """Wait; `close` cuts one such wait short, present or next, and `abandon` all."""
        with self._changed:
            self._changed.wait_for(lambda: self._hurried or self._abandoned, seconds)
            self._hurried = False

    def settle(self, count: int, refused: int) -> None:
        """Let go of the first events, of which some were refused.

        It does nothing once the queue was given up, which has decided on them already.
        """
        with self._changed:
            if self._abandoned:
                return
            for _ in range(count):
                self._bytes -= _size(self._events.popleft())
            self._refused += refused
            self._delivered += count - refused
            self._oldest = time.monotonic()
            self._admit()
            self._end_flushes(self._added - len(self._events), all_settled=True)

    def close(self) -> None:
        """Take no more events, and hurry."""
        with self._changed:
            self._closing = self._hurried = True
            self._changed.notify()

    def abandon(self) -> tuple[Event, ...]:
        """Give up what was not settled, and return it."""
        with self._changed:
            self._closing = self._abandoned = True
            lost = tuple(self._events)
            self._events.clear()
            self._bytes = 0
            self._dropped += len(lost)
            for _, entered in self._entering:
                if entered.set_running_or_notify_cancel():
                    entered.set_exception(Closed("closed while there was no room"))
            self._entering.clear()
            self._end_flushes(self._added, all_settled=False)
            self._changed.notify()
            return lost

    def counts(self) -> Counts:
        """What became of the events so far."""
        with self._changed:
            return Counts(len(self._events), self._delivered, self._refused, self._dropped)

    def _admits(self, event: Event) -> bool:
        if self._closing:
            raise Closed("this client is closed")
        return not self._entering and self._fits(event)

    def _fits(self, event: Event) -> bool:
        return self._bytes + _size(event) <= self._most_bytes

    def _append(self, event: Event) -> None:
        self._events.append(event)
        self._added += 1
        self._bytes += _size(event)
        first = len(self._events) == 1
        if first:
            self._oldest = time.monotonic()
        if self._wanted and (first or self._full()):
            self._changed.notify()

    def _full(self) -> bool:
        return len(self._events) >= self._wanted or self._bytes >= self._batch_bytes

    def _ready(self) -> bool:
        if self._closing or not self._events:
            return self._closing
        return bool(self._flushes or self._entering) or self._full()

    def _head(self, most: int) -> list[Event]:
        batch: list[Event] = []
        size = 0
        for event in self._events:
            size += len(event.json) + 1
            if len(batch) == most or size > self._batch_bytes:
                break
            batch.append(event)
        return batch

    def _admit(self) -> None:
        """Let those in who wait, as far as there is room."""
        while self._entering:
            event, entered = self._entering[0]
            if not entered.cancelled() and not self._fits(event):
                return
            self._entering.popleft()
            if entered.set_running_or_notify_cancel():
                self._append(event)
                entered.set_result(None)

    def _end_flushes(self, settled: int, *, all_settled: bool) -> None:
        """Answer those who wait for no more than the first `settled` events."""
        while self._flushes and self._flushes[0][0] <= settled:
            _, done = self._flushes.pop(0)
            if done.set_running_or_notify_cancel():
                done.set_result(all_settled)


def _size(event: Event) -> int:
    return len(event.json) + _AROUND_EVENT
