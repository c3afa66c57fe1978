from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.reader import Reader, reading
from tests.support import database
from tests.support.database import Cluster, Database


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Reader]:
    """The read API on the database of one test."""
    async with reading(database) as reader:
        yield reader


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def idle(cluster: Cluster, template: str) -> AsyncIterator[Reader]:
    """The read API on an empty database that no test changes."""
    with cluster.database(template) as name:
        async with database.opened(cluster.url_of(name)) as opened, reading(opened) as reader:
            yield reader
