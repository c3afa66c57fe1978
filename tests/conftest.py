"""Fixtures on real servers: a database and topics for each test, and the processes.

A test requests `system` and starts the processes that it needs:

    gateway = await system.ingest()
    await system.resolver(resolver_batch=10)
    await gateway.tracked(type="pageview", anonymousId="person_1")
    await eventually(lambda: system.database.count("events"), equals(1))

All processes that a test started end with it.
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
    """Undo ignored signals, which child processes would inherit; start the shared servers."""
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
    """Show which servers the run uses."""
    return str(_choice(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn skips into failures in strict mode."""
    return strict.fail_if_skipped((yield))


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
    """The server on which the tests create databases."""
    return Cluster(servers_running.database_url)


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    """A migrated database that tests clone."""
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
    """The database of `database_url`, with a connection for queries."""
    async with database.opened(database_url) as opened:
        yield opened


@pytest.fixture(name="topics")
async def topics_(servers_running: Servers) -> AsyncIterator[Topics]:
    """Two new topics."""
    async with topics.created(servers_running.kafka_bootstrap) as created:
        yield created


@pytest.fixture
def env(servers_running: Servers, database_url: str, topics: Topics) -> dict[str, str]:
    """The MERGANSER_* variables of this test's processes."""
    return settings_env(servers_running.kafka_bootstrap, database_url, topics)


@pytest.fixture
async def system(
    tmp_path: Path, env: dict[str, str], database: Database, topics: Topics
) -> AsyncIterator[System]:
    """The database and topics of this test, and functions that start processes on them."""
    with opened_system(tmp_path, env, database, topics) as system:
        yield system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(
    servers_running: Servers,
    cluster: Cluster,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[System]:
    """A system with one gateway, for tests that only send it requests with their own events."""
    with cluster.database(template) as name:
        url = cluster.url_of(name)
        async with (
            database.opened(url) as opened,
            topics.created(servers_running.kafka_bootstrap) as created,
        ):
            env = settings_env(servers_running.kafka_bootstrap, url, created)
            with opened_system(tmp_path_factory.mktemp("shared"), env, opened, created) as system:
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
