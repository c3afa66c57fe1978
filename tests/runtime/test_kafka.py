"""Connections to Kafka."""

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest

from merganser.runtime import kafka
from merganser.runtime.kafka_connection import AdminClient
from merganser.runtime.lifecycle import Stop
from merganser.runtime.settings import Settings
from tests.support.proxy import Proxy
from tests.support.servers import Servers
from tests.support.topics import Topics


async def test_a_start_waits_for_the_broker(servers_running: Servers) -> None:
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
    """An event loop that records its connections."""

    transports: list[Any]

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """Connect, and record the connection."""
        transport, protocol = await super().create_connection(*arguments, **options)
        self.transports.append(transport)
        return transport, protocol


def test_a_request_on_a_lost_connection_raises_a_kafka_error(
    servers_running: Servers,
) -> None:
    """With uvloop, as in the processes. After another error, aiokafka would not connect again."""
    host, port = servers_running.kafka_bootstrap.rsplit(":", 1)

    async def send_on_lost_connection() -> None:
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
        runner.run(send_on_lost_connection())


async def test_a_cluster_without_a_controller_is_an_error_of_kafka(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that starts, or that was away, names no brokers and no controller for a moment."""
    monkeypatch.setattr(ClusterMetadata, "update_metadata", lambda *_: None)
    admin = AdminClient(bootstrap_servers=topics.bootstrap)
    await admin.start()
    try:
        with pytest.raises(NodeNotReadyError, match="no controller"):
            await admin.delete_topics([topics.events.name])
    finally:
        await admin.close()
