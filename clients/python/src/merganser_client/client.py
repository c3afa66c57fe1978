"""The client for threads."""

from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from types import TracebackType
from typing import Any

from merganser_client.base import IDENTIFY, ClientBase
from merganser_client.event import build_event


class Client(ClientBase):
    """Send events from any thread, without waiting for the ingest server.

    Create one client per process, and share it. Close it at the end, or use it in a `with` block.
    When the program ends without that, the client delivers the queued events within
    `close_timeout`.
    """

    def track(
        self,
        type: str,  # noqa: A002 - the name of this argument in every track API
        *,
        user_id: str | int | None = None,
        anonymous_id: str | int | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue an event.

        Args:
            type: what happened, such as "pageview" or "purchase".
            user_id: your id of the user.
            anonymous_id: the id of an anonymous visitor. An event needs one of the two ids; an
                event with both links the visitor to the user.
            data: properties: JSON values, and Decimal, datetime, date, time and UUID.
            occurred_at: when it happened, with a time zone; the current time by default. The server
                stores a time that you give as it is. It corrects the default by the difference
                between its clock and this machine's.
            message_id: your id of the event; a random UUID by default. Two events with the same
                `message_id` and `occurred_at` are stored once.

        Raises:
            TypeError: an argument has a type that cannot be sent.
            ValueError: an argument has a value that cannot be sent.
            Closed: the client is closed.
        """
        event = build_event(type, user_id, anonymous_id, data, occurred_at, message_id)
        if self._when_full == "drop":
            self._sender.put_if_room(event)
            return
        queued = self._sender.put_when_room(event)
        try:
            queued.result()
        except BaseException:  # such as KeyboardInterrupt: the event must not be queued later
            queued.cancel()
            raise

    def identify(
        self,
        user_id: str | int,
        *,
        anonymous_id: str | int | None = None,
        traits: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue an event with a user's traits. An `anonymous_id` links the visitor to the user.

        Raises:
            TypeError: as `track`.
            ValueError: as `track`.
            Closed: as `track`.
        """
        self.track(IDENTIFY, user_id=user_id, anonymous_id=anonymous_id, data=traits)

    def flush(self, timeout: float | None = None) -> bool:
        """Send now, and wait until each event tracked so far is delivered or refused.

        Args:
            timeout: seconds; None waits without a limit.

        Returns:
            True if each of these events is delivered or refused, False after `timeout`.
        """
        settled = self._sender.flush()
        try:
            return settled.result(timeout)
        except FutureTimeoutError:
            settled.cancel()
            return False

    def close(self, timeout: float | None = None) -> bool:
        """Deliver the queued events and close. Events not delivered in time are lost and reported.

        Args:
            timeout: seconds; None means the option `close_timeout`.

        Returns:
            Whether no event was lost.
        """
        return self._sender.close(timeout)

    def __enter__(self) -> "Client":  # noqa: PYI034 - Python 3.10 has no Self
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()
