"""What `Client` and `AsyncClient` share: options and counts."""

from functools import partial

from merganser_client.event_queue import Counts
from merganser_client.failure import OnError
from merganser_client.log import enable_debug_logging
from merganser_client.options import Options, WhenFull
from merganser_client.sender import Sender
from merganser_client.transport import Transport

IDENTIFY = "identify"
"""The type of the event that `identify` sends; its data are the traits."""


class ClientBase:
    """A sender, and the options that it works with."""

    def __init__(
        self,
        api_key: str,
        endpoint: str,
        *,
        queue_bytes: int = 32 << 20,
        when_full: WhenFull = "drop",
        batch_size: int = 500,
        interval: float = 0.5,
        timeout: float = 10.0,
        close_timeout: float = 10.0,
        first_delay: float = 0.2,
        longest_delay: float = 10.0,
        on_error: OnError | None = None,
        debug: bool = False,
    ) -> None:
        """Check the options. The client connects when it sends the first event.

        Args:
            api_key: on servers, a secret key with the permission `events:write`.
            endpoint: the URL of the ingest server, without `/api/v1`.
            queue_bytes: bytes of memory for events that are not delivered yet, at least 1 MiB.
            when_full: what `track` does while the queue is full. "drop" drops the new event and
                reports it. "block" waits for room, for programs whose job is to send.
            batch_size: the most events in a request, 1 to 1,000.
            interval: the seconds an event waits for others to share its request.
            timeout: seconds for the server to respond.
            close_timeout: the most seconds that `close`, and the end of the program, take to
                deliver the queued events.
            first_delay: the most seconds to wait after a first failure; each further failure
                doubles them.
            longest_delay: the most seconds to wait after any failure, besides those that the
                server asks for by `Retry-After`.
            on_error: called with a `Failure` when something goes wrong. The sending thread calls it
                and waits for it to return; for "full" and "closed" it is the thread that tracks or
                closes.
            debug: print what the server accepted and refused: set the logger `merganser` to DEBUG,
                with a handler on stderr if none is configured.

        Raises:
            ValueError: an option has a value that is not allowed.
        """
        if debug:
            enable_debug_logging()
        self._when_full = when_full
        options = Options(
            queue_bytes=queue_bytes,
            when_full=when_full,
            batch_size=batch_size,
            interval=interval,
            timeout=timeout,
            close_timeout=close_timeout,
            first_delay=first_delay,
            longest_delay=longest_delay,
            on_error=on_error,
        )
        self._sender = Sender(partial(Transport, endpoint, api_key, timeout), options)

    def counts(self) -> Counts:
        """Return how many events of this process are waiting, delivered, refused and dropped."""
        return self._sender.counts()
