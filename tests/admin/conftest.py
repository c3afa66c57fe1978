from collections.abc import AsyncIterator

import pytest

from tests.admin.persons import ANN, BOB
from tests.support import database as databases
from tests.support.database import Cluster, Database


@pytest.fixture
async def source_database(cluster: Cluster) -> AsyncIterator[Database]:
    """The company's database; it refuses the query for the age of Ann and Bob."""
    with cluster.database() as name:
        async with databases.opened(cluster.url_of(name)) as opened:
            await opened.execute("CREATE TABLE users (id text, plan text, age text)")
            for person in (ANN, BOB):
                await opened.execute(
                    "INSERT INTO users VALUES (%s, %s, 'old')", person.user_id, person.mark
                )
            await opened.execute("INSERT INTO users VALUES ('cat', 'free', '7')")
            yield opened
