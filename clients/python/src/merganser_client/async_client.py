"""The client for asyncio."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any

from merganser_client.base import IDENTIFY, ClientBase
from merganser_client.event import build_event


class AsyncClient(ClientBase):
    """Send events from coroutines, of any number of event loops, without blocking a loop.

    A thread of the client sends the events, so it also sends while a loop is busy and after the
    loop is closed.
    """

    async def track(
        self,
        type: str,  # noqa: A002 - the name of this argument in every track API
        *,
        user_id: str | int | None = None,
        anonymous_id: str | int | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue an event. With `when_full="block"` the coroutine waits while the queue is full.

        The arguments are those of `Client.track`.

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
        if not queued.done():
            await asyncio.wrap_future(queued)

    async def identify(
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
        await self.track(IDENTIFY, user_id=user_id, anonymous_id=anonymous_id, data=traits)

    async def flush(self, timeout: float | None = None) -> bool:
        """Send now, and wait until each event tracked so far is delivered or refused.

        Args:
            timeout: seconds; None waits without a limit.

        Returns:
            True if each of these events is delivered or refused, False after `timeout`.
        """
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._sender.flush()), timeout)
        except asyncio.TimeoutError:
            return False

    async def close(self, timeout: float | None = None) -> bool:
        """Deliver the queued events and close. Events not delivered in time are lost and reported.

        Args:
            timeout: seconds; None means the option `close_timeout`.

        Returns:
            Whether no event was lost.
        """
        return await asyncio.to_thread(self._sender.close, timeout)

    async def __aenter__(self) -> "AsyncClient":  # noqa: PYI034 - Python 3.10 has no Self
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()
