"""One gateway for the tests that only ask and look at answers: each uses events of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import database, topics
from tests.support.database import Cluster
from tests.support.gateway import Gateway
from tests.support.servers import Servers
from tests.support.system import System, opened_system, settings_env


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(
    servers_running: Servers,
    cluster: Cluster,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    """A system whose gateway no test harms."""
    with cluster.database(template) as name:
        url = cluster.url_of(name)
        async with (
            database.opened(url) as opened,
            topics.made(servers_running.kafka_bootstrap) as made,
        ):
            env = settings_env(servers_running.kafka_bootstrap, url, made)
            with opened_system(tmp_path_factory.mktemp("shared"), env, opened, made) as system:
                await system.ingest()
                yield system


@pytest.fixture
def gateway(shared: System) -> Gateway:
    """The shared gateway."""
    (gateway,) = shared.services
    assert isinstance(gateway, Gateway)
    return gateway
