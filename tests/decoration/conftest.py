from collections.abc import AsyncIterator, Sequence

import pytest

from decoration.source_client import SourceClient
from decoration.values import ResultTable
from merganser.rulebook.language import Query
from tests.decoration.crowd import GOOD
from tests.decoration.decorated import Decorated, url_of
from tests.support import database as databases
from tests.support.database import Cluster, Database

USERS = """
CREATE TABLE users (id text PRIMARY KEY, email text, plan text);
INSERT INTO users VALUES ('1', 'a@x.io', 'free'), ('2', 'b@x.io', 'pro'), ('3', NULL, NULL)
"""


@pytest.fixture
async def company(cluster: Cluster) -> AsyncIterator[Database]:
    """A database of the company's, with users."""
    with cluster.database() as name:
        async with databases.opened(cluster.url_of(name)) as opened:
            await opened.connection.execute(USERS)
            yield opened


@pytest.fixture
async def crowd(company: Database) -> Database:
    """The company's, with other users than that: see crowd.py."""
    await company.execute("TRUNCATE users")
    for user_id, plan in GOOD.items():
        await company.execute(
            "INSERT INTO users VALUES (%s, %s, %s)", user_id, f"{user_id}@x.io", plan
        )
    return company


@pytest.fixture
async def decorated(database: Database, company: Database) -> AsyncIterator[Decorated]:
    """Rules may ask the source crm, which is that database."""
    decorated = Decorated(database, {"CRM_URL": url_of(company.url)})
    yield decorated
    await decorated.worker.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The users of each query to a source, in order."""
    asked: list[tuple[str, ...]] = []
    ask = SourceClient.run_query

    async def noting(self: SourceClient, query: Query, user_ids: Sequence[str]) -> ResultTable:
        asked.append(tuple(user_ids))
        return await ask(self, query, user_ids)

    monkeypatch.setattr(SourceClient, "run_query", noting)
    return asked
