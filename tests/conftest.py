"""Fixtures on real servers: a database and topics for each test, and our processes beside them.

A test asks for `system` and starts what it needs:

    gateway = await system.ingest()
    await system.resolver(resolver_batch=10)
    await gateway.tracked(type="pageview", anonymousId="person_1")
    await eventually(lambda: system.database.count("events"), equals(1))

Whatever it started is ended with it.
"""

import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import database, examples, servers, strict, topics
from tests.support.database import Cluster, Database
from tests.support.gateway import Gateway
from tests.support.servers import Choice, Servers, SharedServers
from tests.support.system import System, opened_system, settings_env
from tests.support.topics import Topics

examples.load_profile()

CHOICE = pytest.StashKey[Choice]()
SHARED = pytest.StashKey[SharedServers]()


def pytest_configure(config: pytest.Config) -> None:
    """Undo ignored signals, which tests would pass on; start the servers that workers share."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if config.getoption("numprocesses", None) and not config.option.collectonly:
        config.stash[SHARED] = SharedServers(_choice(config))


def pytest_configure_node(node: Any) -> None:
    """Tell a pytest-xdist worker where the shared servers are."""
    node.workerinput["shared_servers"] = str(node.config.stash[SHARED].addresses)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the shared servers."""
    if SHARED in config.stash:
        config.stash[SHARED].stop()


def pytest_report_header(config: pytest.Config) -> str:
    """Say which servers the run uses."""
    return str(_choice(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no skip pass for a success where none may."""
    return strict.judged((yield))


@pytest.fixture(scope="session")
def servers_running(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """The real Kafka and Postgres, shared by all tests and by all workers of pytest-xdist."""
    if worker := getattr(pytestconfig, "workerinput", None):
        yield servers.wait_for_shared(Path(worker["shared_servers"]))
    else:
        with (
            servers.temporary_home() as home,
            servers.running(_choice(pytestconfig), Path(home)) as running,
        ):
            yield running


@pytest.fixture(scope="session")
def cluster(servers_running: Servers) -> Cluster:
    """Where databases are made."""
    return Cluster(servers_running.database_url)


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    """A migrated database to clone."""
    with cluster.template() as name:
        yield name


@pytest.fixture
def database_url(cluster: Cluster, template: str) -> Iterator[str]:
    """A migrated, empty database."""
    with cluster.database(template) as name:
        yield cluster.url_of(name)


@pytest.fixture
def empty_database_url(cluster: Cluster) -> Iterator[str]:
    """A database without tables."""
    with cluster.database() as name:
        yield cluster.url_of(name)


@pytest.fixture(name="database")
async def database_(database_url: str) -> AsyncIterator[Database]:
    """The same database as `database_url`, with a connection to look inside."""
    async with database.opened(database_url) as opened:
        yield opened


@pytest.fixture(name="topics")
async def topics_(servers_running: Servers) -> AsyncIterator[Topics]:
    """Two new topics."""
    async with topics.made(servers_running.kafka_bootstrap) as made:
        yield made


@pytest.fixture
def env(servers_running: Servers, database_url: str, topics: Topics) -> dict[str, str]:
    """MERGANSER_* of this test's processes."""
    return settings_env(servers_running.kafka_bootstrap, database_url, topics)


@pytest.fixture
async def system(
    tmp_path: Path, env: dict[str, str], database: Database, topics: Topics
) -> AsyncIterator[System]:
    """This test's database and topics, and the means to start processes on them."""
    with opened_system(tmp_path, env, database, topics) as system:
        yield system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(
    servers_running: Servers,
    cluster: Cluster,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    """A system with one gateway, for tests that only ask it, each with events of its own."""
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


@pytest.fixture
async def api_key(system: System) -> str:
    """A key with the permission to write events."""
    return await system.key()


def _choice(config: pytest.Config) -> Choice:
    if CHOICE not in config.stash:
        config.stash[CHOICE] = servers.choose()
    return config.stash[CHOICE]
