"""Connections to Kafka."""

import asyncio

from runtime import kafka
from runtime.lifecycle import Stop
from runtime.settings import Settings
from tests.support.proxy import Proxy
from tests.support.servers import Servers


async def test_a_broker_that_goes_away_at_the_start_is_waited_for(servers_running: Servers) -> None:
    host, port = servers_running.kafka_bootstrap.rsplit(":", 1)
    proxy = Proxy(host, int(port))
    settings = Settings(_env_file=None, kafka_bootstrap=f"127.0.0.1:{proxy.port}")
    asked = asyncio.create_task(kafka.awaited_cluster_id(settings, Stop()))
    done, _ = await asyncio.wait({asked}, timeout=0.5)
    assert not done
    await proxy.start()
    assert await asked == await kafka.cluster_id(settings)
    await proxy.stop()
