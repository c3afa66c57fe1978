"""The thread that sends, one in each process that tracks."""

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timezone

from merganser_client import process
from merganser_client.backlog import Backlog, Counts
from merganser_client.delays import delay
from merganser_client.event import Event
from merganser_client.failure import Failure, Kind
from merganser_client.gateway import ENVELOPE_BYTES, MOST_BYTES, Gateway, Unreachable
from merganser_client.options import Options
from merganser_client.verdict import Again, Smaller, Taken, Verdict, judge

log = logging.getLogger("merganser_client")

_LEVELS: dict[Kind, int] = {"unreachable": logging.WARNING}


class Sender:
    """Takes events from any thread and delivers them from one of its own."""

    def __init__(self, make_gateway: Callable[[], Gateway], options: Options) -> None:
        """It starts its thread with the first event."""
        self._make_gateway = make_gateway
        self._options = options
        self._renew()
        process.after_fork(self)

    def offer(self, event: Event) -> None:
        """Send an event. If the queue is full the event is dropped, and that is reported.

        Raises:
            Closed: by `close`.
        """
        if self._backlog.offer(event):
            self._start()
            return
        dropped = self._backlog.counts().dropped
        # A line for each would drown the log: it has the 1st, 2nd, 4th, 8th, ... of them.
        level = logging.DEBUG if dropped & (dropped - 1) else logging.ERROR
        self._report("full", f"the queue is full: {dropped} events dropped", (event,), level)

    def put(self, event: Event) -> Future[None]:
        """Send an event as soon as the queue has room; the future says that it had.

        Raises:
            Closed: by `close`.
        """
        entered = self._backlog.put(event)
        self._start()
        return entered

    def flush(self) -> Future[bool]:
        """Hurry; see `Backlog.flush`."""
        return self._backlog.flush()

    def counts(self) -> Counts:
        """What became of the events so far."""
        return self._backlog.counts()

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what is left, and after `timeout` seconds give up; True if nothing was."""
        self._backlog.close()
        if self._thread:
            self._thread.join(self._options.close_timeout if timeout is None else timeout)
        lost = self._backlog.abandon()
        if lost:
            self._report("closed", f"closed with {len(lost)} events not delivered", lost)
        process.not_at_exit(self.close)
        return not lost

    def renew_after_fork(self) -> None:
        """In the child: be empty. What was queued is still the parent's to send."""
        closed = self._backlog.closing
        self._gateway.let_go()
        self._renew()
        if closed:
            self._backlog.close()

    def _renew(self) -> None:
        batch_bytes = MOST_BYTES - ENVELOPE_BYTES
        self._backlog = Backlog(self._options.queue_bytes, batch_bytes, self._options.interval)
        self._gateway = self._make_gateway()
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
                process.at_exit(self.close)

    def _run(self) -> None:
        backlog, most, failures, told = self._backlog, self._options.batch_size, 0, ""
        while batch := backlog.take(most):
            verdict = self._send(batch)
            if isinstance(verdict, Again):
                failures += 1
                if verdict.why != told:  # once, however long it lasts
                    told = verdict.why
                    kind: Kind = "misconfigured" if verdict.misconfigured else "unreachable"
                    self._report(kind, f"{told}; {len(batch)} events or more wait")
                backlog.pause(self._delay(failures, verdict.after))
                continue
            if told:
                log.warning("the gateway answers again")
            failures, told = 0, ""
            if isinstance(verdict, Smaller):
                if len(batch) > 1:
                    most = len(batch) // 2
                    continue
                verdict = Taken({0: verdict.why})
            # Slowly back to size: a gateway with a smaller limit would refuse half of all requests.
            most = min(self._options.batch_size, most + most // 8 + 1)
            if verdict.refused:
                self._report_refused(batch, verdict)
            backlog.settle(len(batch), len(verdict.refused))
        self._gateway.close()

    def _send(self, batch: list[Event]) -> Verdict:
        try:
            answer = self._gateway.post(batch)
        except Unreachable as error:
            return Again(f"no answer ({error})")
        except Exception as error:  # the thread must outlive whatever it was
            log.exception("a defect of merganser-client")
            return Again(f"a defect of merganser-client ({error!r})")
        return judge(answer, len(batch), datetime.now(timezone.utc))

    def _delay(self, failures: int, after: float) -> float:
        first, longest = self._options.first_delay, self._options.longest_delay
        return delay(failures, first, longest, after, random.random())  # noqa: S311 - no secret

    def _report_refused(self, batch: list[Event], verdict: Taken) -> None:
        whys = sorted(set(verdict.refused.values()))
        message = f"{len(verdict.refused)} events refused: {whys[0]}"
        if len(whys) > 1:
            message += f" (and {len(whys) - 1} other reasons)"
        self._report("refused", message, tuple(batch[index] for index in verdict.refused))

    def _report(
        self, kind: Kind, message: str, lost: tuple[Event, ...] = (), level: int = logging.ERROR
    ) -> None:
        log.log(_LEVELS.get(kind, level), "%s: %s", kind, message)
        if self._options.on_error:
            try:
                self._options.on_error(Failure(kind, message, lost))
            except Exception:
                log.exception("on_error failed")
