"""A broker and a Postgres that fault tests may break; they are repaired after each test.

They replace the servers that other tests share: `system`, `database` and `topics` work as in other
tests. Each pytest worker has its own pair.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio

from dev.stack import ports
from dev.stack.errors import StackError
from dev.stack.home import Home
from dev.stack.kafka import Kafka
from dev.stack.postgres import Postgres
from tests.support import topics
from tests.support.database import Cluster
from tests.support.freezing import thaw
from tests.support.proxy import Proxy
from tests.support.servers import Servers
from tests.support.system import System
from tests.support.waiting import eventually

HOST = "127.0.0.1"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("faults"))
    with home.owned():
        yield home


@pytest.fixture(scope="session")
def broker_ports(place: Home) -> Iterator[dict[str, int]]:
    names = ["kafka", "controller", "proxied", "proxy"]
    with ports.claimed(names, place.ports, usual={}) as claimed:
        yield claimed


@pytest.fixture(scope="session")
def broker(place: Home, broker_ports: dict[str, int]) -> Iterator[Kafka]:
    """The broker; it has a second listener, for processes that connect through `kafka_network`."""
    port, controller, proxied, proxy = broker_ports.values()
    kafka = Kafka(
        place,
        port,
        controller,
        config={
            "listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{proxied},"
            f"CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{proxy}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
        },
    )
    try:
        kafka.start()
        yield kafka
    except StackError as error:
        pytest.skip(f"needs a broker to break: {error}")
    finally:
        kafka.stop()


@pytest.fixture(scope="session")
def postgres(place: Home) -> Iterator[Postgres]:
    """The server; it waits for the disk as in production, because tests kill it."""
    server = Postgres(place, ports.free_port())
    try:
        server.start()
        yield server
    except StackError as error:
        pytest.skip(f"needs a Postgres to break: {error}")
    finally:
        server.stop()


@pytest.fixture(scope="session")
def servers_running(broker: Kafka, postgres: Postgres) -> Servers:
    return Servers(broker.bootstrap, postgres.url)


@pytest.fixture(scope="session")
def cluster(servers_running: Servers) -> Cluster:
    return Cluster(servers_running.database_url)


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    with cluster.template() as name:
        yield name


@pytest.fixture(name="system")
async def system_(system: System, broker: Kafka, postgres: Postgres) -> AsyncIterator[System]:
    """A system on servers that the test may break; they are repaired at the end."""
    yield system
    for server in (broker, postgres):
        thaw(server)
        if not server.running:
            await asyncio.to_thread(server.start)
    await eventually(postgres.ready, within=60)
    await eventually(lambda: topics.broker_is_back(broker.bootstrap), within=60)


@pytest_asyncio.fixture
async def kafka_network(broker_ports: dict[str, int]) -> AsyncIterator[Proxy]:
    """A proxy before the broker, for processes that get its port as their bootstrap."""
    proxy = Proxy(HOST, broker_ports["proxied"], broker_ports["proxy"])
    await proxy.start()
    yield proxy
    proxy.thaw()
    with suppress(OSError):
        await proxy.stop()
