"""The client for threads."""

from collections.abc import Mapping
from concurrent.futures import TimeoutError as TooLate
from datetime import datetime
from types import TracebackType
from typing import Any

from merganser_client import event
from merganser_client.base import IDENTIFY, Base


class Client(Base):
    """Sends events from any thread, without waiting for the gateway.

    Make one for a process, and close it at the end or use it in a `with` block; what is left when
    the program ends is delivered within `close_timeout`.
    """

    def track(
        self,
        type: str,  # noqa: A002 - what it is called everywhere
        *,
        user_id: str | int | None = None,
        anonymous_id: str | int | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Send an event.

        Args:
            type: what happened: "pageview", "purchase", ...
            user_id: your own id of the user.
            anonymous_id: the id of a visitor. One of the two is needed; an event with both says
                that the visitor is that user.
            data: properties, as far as JSON goes, with Decimal, date, time and UUID.
            occurred_at: when, with a time zone, if not now. It is stored as it is given; the time
                of an event without it is corrected where the clock of this machine is wrong.
            message_id: your own id of the event: tracked twice, it is one event if its
                `occurred_at` is the same, too.

        Raises:
            TypeError: an argument is of a type that cannot be sent.
            ValueError: an argument has a value that cannot be sent.
            Closed: after `close`.
        """
        made = event.make(type, user_id, anonymous_id, data, occurred_at, message_id)
        if self._when_full == "drop":
            self._sender.offer(made)
            return
        entered = self._sender.put(made)
        try:
            entered.result()
        except BaseException:  # Ctrl-C, say: it must not enter later
            entered.cancel()
            raise

    def identify(
        self,
        user_id: str | int,
        *,
        anonymous_id: str | int | None = None,
        traits: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what is known of a user, and that a visitor is that user.

        Raises:
            TypeError: as `track`.
            ValueError: as `track`.
            Closed: after `close`.
        """
        self.track(IDENTIFY, user_id=user_id, anonymous_id=anonymous_id, data=traits)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was tracked before is delivered or refused.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            Whether that is so.
        """
        settled = self._sender.flush()
        try:
            return settled.result(timeout)
        except TooLate:
            settled.cancel()
            return False

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what is left and end; what is not delivered in time is lost, and reported.

        Args:
            timeout: seconds, in place of `close_timeout`.

        Returns:
            Whether nothing was lost.
        """
        return self._sender.close(timeout)

    def __enter__(self) -> "Client":  # noqa: PYI034 - Python 3.10 has no Self
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
