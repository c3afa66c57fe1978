"""aiokafka's connection to a broker, made to fail as aiokafka expects when the broker is gone."""

from collections.abc import Awaitable
from typing import Any, ClassVar

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """A connection that may be lost at any time, on uvloop too.

    A request may be written after the transport has closed and before aiokafka has noticed.
    asyncio's transport drops it in silence; uvloop's raises RuntimeError, for which aiokafka has no
    answer (its issue 1038): the task that refreshes metadata would end, and with it, unseen, all
    search for a new leader or coordinator until the process is restarted.
    """

    failure: ClassVar[Exception | None] = None
    """Why the last connection was not made: aiokafka's clients only log it."""

    async def connect(self) -> Any:
        """Connect, and show the broker who we are.

        Raises:
            OSError: no broker is there, or TLS fails.
            KafkaError: it hangs up, or does not let us in.
        """
        try:
            return await super().connect()
        except (OSError, KafkaError) as error:
            Connection.failure = error
            raise

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - as aiokafka has it
        """Write a request; awaiting what this returns gives the response.

        Raises:
            KafkaConnectionError: the connection is gone.
        """
        try:
            sent: Awaitable[Any] = super().send(request, expect_response)
        except RuntimeError as error:
            if not self._writer.is_closing():
                raise
            self.close(conn.CloseReason.CONNECTION_BROKEN, error)
            raise KafkaConnectionError(f"{self.host}:{self.port} has closed") from error
        return sent


def install() -> None:
    """Have all clients of aiokafka connect so: they take no connection of one's own."""
    conn.AIOKafkaConnection = Connection
