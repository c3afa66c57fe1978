"""Connections to Kafka."""

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from merganser.runtime import kafka
from merganser.runtime.lifecycle import Stop
from merganser.runtime.settings import Settings
from tests.support.proxy import Proxy
from tests.support.servers import Servers


async def test_a_broker_that_goes_away_at_the_start_is_waited_for(servers_running: Servers) -> None:
    host, port = servers_running.kafka_bootstrap.rsplit(":", 1)
    proxy = Proxy(host, int(port))
    settings = Settings(_env_file=None, kafka_bootstrap=f"127.0.0.1:{proxy.port}")
    waiting = asyncio.create_task(kafka.wait_for_cluster_id(settings, Stop()))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done
    await proxy.start()
    assert await waiting == await kafka.cluster_id(settings)
    await proxy.stop()


class RecordingLoop(uvloop.Loop):
    """An event loop that remembers its connections."""

    transports: list[Any]

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """Connect, and remember the connection."""
        transport, protocol = await super().create_connection(*arguments, **options)
        self.transports.append(transport)
        return transport, protocol


def test_a_request_on_a_connection_that_has_closed_unnoticed_fails_as_others_do(
    servers_running: Servers,
) -> None:
    """On uvloop, as the processes: aiokafka handles no other error, and would not connect again."""
    host, port = servers_running.kafka_bootstrap.rsplit(":", 1)

    async def course() -> None:
        connection = await create_conn(host, int(port))
        (transport,) = loop.transports
        transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(KafkaConnectionError):
            await connection.send(MetadataRequest([]))
        assert not connection.connected()

    loop = RecordingLoop()
    loop.transports = []
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(course())
