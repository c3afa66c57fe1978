"""Responses match the OpenAPI document: schemathesis sends valid and invalid requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from api import app
from merganser.http.authentication import ApiKeys
from merganser.queries.pool import Pool
from merganser.runtime import metrics
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Connection, Database
from schemas.ids import NOBODY
from tests.api.reader import Reader, reading
from tests.support import database, examples
from tests.support.database import Cluster
from tests.support.events import event

EXAMPLES = examples.count(fast=10, full=40)
"""Number of requests to each route."""

KEYS = ApiKeys(Database("", ""), 1, Stop(), "")
SCHEMA = schemathesis.openapi.from_asgi(
    "/openapi.json",
    app.create_app(Pool("api", metrics.POOL_WAIT_SECONDS, "", 1, 1), KEYS, 1, NOBODY),
)
# schemathesis' own parametrize gives all tests one name, so pytest-xdist would run only one.
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]


class PoolPerRequest(Pool):
    """Opens a pool for each request, because schemathesis runs each in a new event loop."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._arguments = arguments

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        pool = Pool(*self._arguments)
        await pool.open()
        try:
            async with pool.reading() as connection:
                yield connection
        finally:
            await pool.close()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        pool = Pool(*self._arguments)
        await pool.open()
        try:
            async with pool.writing() as connection:
                yield connection
        finally:
            await pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(cluster: Cluster, template: str) -> AsyncIterator[Reader]:
    """The API on a database with a few events and profiles."""
    with cluster.database(template) as name:
        async with (
            database.opened(cluster.url_of(name)) as opened,
            reading(opened, pool_class=PoolPerRequest) as reader,
        ):
            await reader.store(*(event(anonymous=f"phone {n}", path="/") for n in range(20)))
            await reader.store(*(event("ann", f"phone {n}", "sign-in") for n in range(0, 20, 2)))
            await reader.get_json("/events")  # loads the API keys in this event loop
            yield reader


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guids(filled: Reader) -> list[str]:
    """Guids that exist; a generator would not find any."""
    events = await filled.get_all("/events", "events")
    merges = await filled.database.column('SELECT "loserGuid" FROM "profileMerges"')
    return [*(item["guid"] for item in events), *(item["profileGuid"] for item in events), *merges]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: f"{item.method} {item.path}")
def test_every_response_matches_the_document(
    filled: Reader, guids: list[str], operation: Any
) -> None:
    """Requests that match the document may be refused: `property` needs `value`.

    Each request has a key; `test_access.py` tests requests without one.
    """
    random = Random(5)
    modes = [operation.as_strategy(mode) for mode in GenerationMode]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(st.one_of(modes))
    def send(case: Case[Any]) -> None:
        if "guid" in case.path_parameters and random.random() < 0.5:
            case.path_parameters["guid"] = random.choice(guids)
        case.call_and_validate(
            app=filled.app,
            headers={"authorization": f"Bearer {filled.key}"},
            excluded_checks=[positive_data_acceptance, ignored_auth],
        )

    send()
