"""Connections to Kafka."""

import asyncio

import pytest
import uvloop
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
    asked = asyncio.create_task(kafka.wait_for_cluster_id(settings, Stop()))
    done, _ = await asyncio.wait({asked}, timeout=0.5)
    assert not done
    await proxy.start()
    assert await asked == await kafka.cluster_id(settings)
    await proxy.stop()


def test_a_request_to_a_broker_that_has_just_gone_fails_and_the_next_one_connects_anew(
    servers_running: Servers,
) -> None:
    """On uvloop, as the processes: a connection is closed before aiokafka notices."""
    settings = Settings(_env_file=None, kafka_bootstrap=servers_running.kafka_bootstrap)

    async def course() -> None:
        async with kafka.producer(settings, "test", timeout=10) as producer:
            assert await producer.client.force_metadata_update()
            (connection,) = producer.client._conns.values()  # noqa: SLF001 - none tells
            connection._writer.transport.abort()  # noqa: SLF001 - as a broker
            await asyncio.sleep(0)
            with pytest.raises(KafkaConnectionError):
                await connection.send(MetadataRequest([]))
            assert await producer.client.force_metadata_update()

    uvloop.run(course())
