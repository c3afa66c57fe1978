from collections.abc import AsyncIterator, Sequence

import pytest

from decoration.source_client import SourceClient
from decoration.values import ResultTable
from merganser.rulebook.language import Query
from tests.decoration.harness import DecorationHarness, url_of
from tests.decoration.other_users import GOOD
from tests.support import database as databases
from tests.support.database import Cluster, Database

USERS = """
CREATE TABLE users (id text PRIMARY KEY, email text, plan text);
INSERT INTO users VALUES ('1', 'a@x.io', 'free'), ('2', 'b@x.io', 'pro'), ('3', NULL, NULL)
"""


@pytest.fixture
async def source_database(cluster: Cluster) -> AsyncIterator[Database]:
    """The company's database, with users."""
    with cluster.database() as name:
        async with databases.opened(cluster.url_of(name)) as opened:
            await opened.connection.execute(USERS)
            yield opened


@pytest.fixture
async def twenty_users(source_database: Database) -> Database:
    """The company's database with the twenty users of other_users.py."""
    await source_database.execute("TRUNCATE users")
    for user_id, plan in GOOD.items():
        await source_database.execute(
            "INSERT INTO users VALUES (%s, %s, %s)", user_id, f"{user_id}@x.io", plan
        )
    return source_database


@pytest.fixture
async def harness(
    database: Database, source_database: Database
) -> AsyncIterator[DecorationHarness]:
    """A harness whose source `crm` is the company's database."""
    harness = DecorationHarness(database, {"CRM_URL": url_of(source_database.url)})
    yield harness
    await harness.worker.close()


@pytest.fixture
def queried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Record the userIds of each query to a source, in order."""
    queried: list[tuple[str, ...]] = []
    run_query = SourceClient.run_query

    async def record(self: SourceClient, query: Query, user_ids: Sequence[str]) -> ResultTable:
        queried.append(tuple(user_ids))
        return await run_query(self, query, user_ids)

    monkeypatch.setattr(SourceClient, "run_query", record)
    return queried
