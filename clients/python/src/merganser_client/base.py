"""What both clients share: how they are made, and what they make of arguments."""

from functools import partial

from merganser_client.backlog import Counts
from merganser_client.failure import OnError
from merganser_client.gateway import Gateway
from merganser_client.options import Options, WhenFull
from merganser_client.sender import Sender

IDENTIFY = "identify"
"""The type of the event that `identify` tracks; its data are the traits."""


class Base:
    """A client's choices and its sender."""

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
    ) -> None:
        """Check what is chosen; connects with the first event.

        Args:
            api_key: with the permission `events:write`.
            endpoint: the gateway's URL, without `/api/v1`.
            queue_bytes: memory for events that are not delivered yet. The default holds what a
                busy process tracks in some minutes without a gateway.
            when_full: "drop" drops the newest event and reports it, for a program must not stand
                still because its analytics do. "block" lets `track` wait for room, for programs
                whose job is to send.
            batch_size: the most events of a request, up to 1,000.
            interval: the seconds an event may wait for others to travel with.
            timeout: seconds for the gateway to answer.
            close_timeout: seconds that `close`, and the end of the program, may take to deliver
                what is left.
            first_delay: the most seconds to wait after a first failure; doubled with each more.
            longest_delay: the most seconds to wait after any failure, beside what the gateway
                asks for.
            on_error: called with a `Failure` when something goes wrong, by the thread that sends,
                which waits for it to return, or for "full" and "closed" by the one that tracks or
                closes.

        Raises:
            ValueError: says what is wrong.
        """
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
        self._sender = Sender(partial(Gateway, endpoint, api_key, timeout), options)

    def counts(self) -> Counts:
        """What became of the events that this process tracked."""
        return self._sender.counts()
