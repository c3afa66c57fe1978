"""The thread that sends events: one in each process that tracks."""

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timezone

from merganser_client import process_hooks
from merganser_client.backoff import compute_delay
from merganser_client.event import Event
from merganser_client.event_queue import Counts, EventQueue
from merganser_client.failure import Failure, Kind
from merganser_client.log import log
from merganser_client.options import Options
from merganser_client.response import Outcome, Retry, Settled, Split, classify_response
from merganser_client.transport import ENVELOPE_BYTES, MAX_BODY_BYTES, Transport, Unreachable

_LEVELS: dict[Kind, int] = {"unreachable": logging.WARNING}


class Sender:
    """Queues events from any thread and delivers them from its own."""

    def __init__(self, create_transport: Callable[[], Transport], options: Options) -> None:
        """Create an empty queue. The first event starts the thread."""
        self._create_transport = create_transport
        self._options = options
        self._reset()
        process_hooks.reset_after_fork(self)

    def put_if_room(self, event: Event) -> None:
        """Queue an event. If the queue is full, drop the event and report that.

        Raises:
            Closed: after `close`.
        """
        if self._queue.put_if_room(event):
            self._start()
            return
        dropped = self._queue.counts().dropped
        # Log only the 1st, 2nd, 4th, 8th … dropped event as an error: a line each floods the log.
        level = logging.DEBUG if dropped & (dropped - 1) else logging.ERROR
        self._report("full", f"the queue is full: {dropped} events dropped", (event,), level)

    def put_when_room(self, event: Event) -> Future[None]:
        """Queue an event as soon as there is room; see `EventQueue.put_when_room`.

        Raises:
            Closed: after `close`.
        """
        queued = self._queue.put_when_room(event)
        self._start()
        return queued

    def flush(self) -> Future[bool]:
        """Send now; see `EventQueue.flush`."""
        return self._queue.flush()

    def counts(self) -> Counts:
        """Return how many events are waiting, delivered, refused and dropped."""
        return self._queue.counts()

    def close(self, timeout: float | None = None) -> bool:
        """Deliver the queued events for at most `timeout` seconds; return whether none was lost."""
        self._queue.close()
        if self._thread:
            self._thread.join(self._options.close_timeout if timeout is None else timeout)
        lost = self._queue.abandon()
        if lost:
            self._report("closed", f"closed with {len(lost)} events not delivered", lost)
        process_hooks.cancel_call_at_exit(self.close)
        return not lost

    def reset_after_fork(self) -> None:
        """Start with an empty queue in the child: the parent sends what it queued."""
        closed = self._queue.closing
        self._transport.release_after_fork()
        self._reset()
        if closed:
            self._queue.close()

    def _reset(self) -> None:
        batch_bytes = MAX_BODY_BYTES - ENVELOPE_BYTES
        self._queue = EventQueue(self._options.queue_bytes, batch_bytes, self._options.interval)
        self._transport = self._create_transport()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def _start(self) -> None:
        if self._thread:
            return
        with self._starting:
            if not self._thread:
                thread = threading.Thread(target=self._run, name="merganser-client", daemon=True)
                thread.start()
                self._thread = thread
                process_hooks.call_at_exit(self.close)

    def _run(self) -> None:
        queue, batch_size, failures, reported = self._queue, self._options.batch_size, 0, ""
        while batch := queue.next_batch(batch_size):
            outcome = self._send(batch)
            if isinstance(outcome, Retry):
                failures += 1
                if outcome.reason != reported:  # report each reason once, however long it lasts
                    reported = outcome.reason
                    kind: Kind = "misconfigured" if outcome.misconfigured else "unreachable"
                    self._report(kind, f"{reported}; {len(batch)} events or more wait")
                delay = self._delay(failures, outcome.after)
                self._debug("retry in %.1f s: %s", delay, outcome.reason)
                queue.wait_before_retry(delay)
                continue
            if reported:
                log.warning("the server responds again")
            failures, reported = 0, ""
            if isinstance(outcome, Split):
                if len(batch) > 1:
                    batch_size = len(batch) // 2
                    self._debug("send smaller batches: %s", outcome.reason)
                    continue
                outcome = Settled({0: outcome.reason})
            # Grow slowly: a server with a lower limit would otherwise refuse every second request.
            batch_size = min(self._options.batch_size, batch_size + batch_size // 8 + 1)
            self._report_settled(batch, outcome)
            queue.settle(len(batch), len(outcome.refused))
        self._transport.close()

    def _send(self, batch: list[Event]) -> Outcome:
        try:
            response = self._transport.post(batch)
        except Unreachable as error:
            return Retry(f"no response ({error})")
        except Exception as error:  # noqa: BLE001 - a bug must not stop the thread
            log.exception("a bug in merganser-client")
            return Retry(f"a bug in merganser-client ({error!r})")
        return classify_response(response, len(batch), datetime.now(timezone.utc))

    def _delay(self, failures: int, retry_after: float) -> float:
        first, longest = self._options.first_delay, self._options.longest_delay
        jitter = random.random()  # noqa: S311 - not a secret
        return compute_delay(failures, first, longest, retry_after, jitter)

    def _report_settled(self, batch: list[Event], outcome: Settled) -> None:
        if log.isEnabledFor(logging.DEBUG):
            for index, event in enumerate(batch):
                if (reason := outcome.refused.get(index)) is None:
                    self._debug("accepted: %s %s", event.type, event.message_id)
                else:
                    self._debug("refused: %s %s: %s", event.type, event.message_id, reason)
        if outcome.refused:
            reasons = sorted(set(outcome.refused.values()))
            message = f"{len(outcome.refused)} events refused: {reasons[0]}"
            if len(reasons) > 1:
                message += f" (and {len(reasons) - 1} other reasons)"
            self._report("refused", message, tuple(batch[index] for index in outcome.refused))

    def _report(
        self, kind: Kind, message: str, lost: tuple[Event, ...] = (), level: int = logging.ERROR
    ) -> None:
        message = self._transport.redact(message)
        log.log(_LEVELS.get(kind, level), "%s: %s", kind, message)
        if self._options.on_error:
            try:
                self._options.on_error(Failure(kind, message, lost))
            except Exception:  # noqa: BLE001 - the caller's code may raise anything
                log.exception("on_error raised an exception")

    def _debug(self, text: str, *values: object) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self._transport.redact(text % values))
