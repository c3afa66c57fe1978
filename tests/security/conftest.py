from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dev.stack.errors import StackError
from tests.security import secured
from tests.security.secured import Secured
from tests.support import database, topics
from tests.support.system import System, opened_system, settings_env


@pytest.fixture(scope="module")
def secured_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run secured servers for the tests of a module."""
    try:
        with secured.running(tmp_path_factory.mktemp("secured")) as servers:
            yield servers
    except StackError as error:
        pytest.skip(f"needs its own servers: {error}")


@pytest.fixture
async def guarded(secured_servers: Secured, tmp_path: Path) -> AsyncIterator[System]:
    """A system on the secured servers; each test sets how its processes connect."""
    async with (
        topics.created(secured_servers.kafka.bootstrap) as created,
        database.opened(secured_servers.postgres.url) as opened,
    ):
        env = settings_env("set-by-the-test:1", secured_servers.database_url(), created)
        with opened_system(tmp_path, env, opened, created) as system:
            yield system
