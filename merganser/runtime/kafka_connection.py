"""Fixes of aiokafka: broker connections on uvloop, and a cluster without a controller."""

from collections.abc import Awaitable
from typing import Any, ClassVar

from aiokafka import conn
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """A connection whose loss aiokafka handles on uvloop too.

    aiokafka may write a request after the transport has closed. asyncio's transport ignores that;
    uvloop's raises RuntimeError, which aiokafka does not handle (aiokafka issue 1038): its task
    that refreshes metadata fails, and the client finds no new leader or coordinator until a
    restart.
    """

    failure: ClassVar[Exception | None] = None
    """Why the last connection attempt failed; aiokafka only logs it."""

    async def connect(self) -> Any:
        """Connect and authenticate.

        Raises:
            OSError: the broker does not accept connections, or TLS fails.
            KafkaError: the broker closes the connection, or refuses the login.
        """
        try:
            return await super().connect()
        except (OSError, KafkaError) as error:
            Connection.failure = error
            raise

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - as aiokafka has it
        """Write a request and return an awaitable of its response.

        Raises:
            KafkaConnectionError: the connection is closed.
        """
        try:
            sent: Awaitable[Any] = super().send(request, expect_response)
        except RuntimeError as error:
            if not self._writer.is_closing():
                raise
            self.close(conn.CloseReason.CONNECTION_BROKEN, error)
            raise KafkaConnectionError(f"{self.host}:{self.port} has closed") from error
        return sent


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc] # aiokafka has no types
    """An admin client that reports a cluster without a controller as a Kafka error.

    A broker that starts, or that was away for some seconds, is not a member of its cluster yet: it
    names neither brokers nor a controller. aiokafka then raises AttributeError.
    """

    async def _send_to_controller(self, request: Any) -> Any:
        try:
            return await super()._send_to_controller(request)
        except AttributeError as error:
            if self._client.cluster.controller is not None:
                raise
            raise NodeNotReadyError("the cluster has no controller yet, try again") from error


def install() -> None:
    """Make all aiokafka clients use `Connection`; aiokafka has no option for it."""
    conn.AIOKafkaConnection = Connection
