"""The client for asyncio."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any

from merganser_client import event
from merganser_client.base import IDENTIFY, Base


class AsyncClient(Base):
    """Sends events from coroutines, of any number of loops, and never blocks a loop.

    A thread of its own sends, so that events travel while a loop is busy, and after it has ended.
    """

    async def track(
        self,
        type: str,  # noqa: A002 - what it is called everywhere
        *,
        user_id: str | int | None = None,
        anonymous_id: str | int | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> None:
        """Send an event; with `when_full="block"` the coroutine waits while the queue is full.

        The arguments are those of `Client.track`.

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
        if not entered.done():
            await asyncio.wrap_future(entered)

    async def identify(
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
        await self.track(IDENTIFY, user_id=user_id, anonymous_id=anonymous_id, data=traits)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was tracked before is delivered or refused.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            Whether that is so.
        """
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._sender.flush()), timeout)
        except asyncio.TimeoutError:
            return False

    async def close(self, timeout: float | None = None) -> bool:
        """Deliver what is left and end; what is not delivered in time is lost, and reported.

        Args:
            timeout: seconds, in place of `close_timeout`.

        Returns:
            Whether nothing was lost.
        """
        return await asyncio.to_thread(self._sender.close, timeout)

    async def __aenter__(self) -> "AsyncClient":  # noqa: PYI034 - Python 3.10 has no Self
        """Itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
