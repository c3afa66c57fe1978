"""A database with glibc's en_US, as in the official image, which compares long texts very slowly.

Columns with the collation "C" compare bytes, so no statement waits for glibc.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import cycle, islice

import psycopg
import pytest

from merganser.identity import store
from merganser.identity.plan import EventIds
from schemas import migrations
from tests.api.reader import Reader, reading
from tests.support import database
from tests.support.database import Cluster, Database
from tests.support.events import NOON

LOCALE = "en_US.UTF-8"

SLOW = ("🦆" * 512, "🦢" * 512)
"""Two texts that glibc takes half a second to compare."""

SET_TIMEOUT = "SET statement_timeout = '5s'"
"""The statements take milliseconds without glibc, and minutes with it."""


@pytest.fixture(scope="module")
def glibc_template(cluster: Cluster) -> Iterator[str]:
    """A migrated database with glibc's locale, to clone."""
    try:
        with cluster.database(locale=LOCALE) as name:
            asyncio.run(migrations.migrate(cluster.url_of(name)))
            yield name
    except psycopg.errors.WrongObjectType:
        pytest.skip(f"no locale {LOCALE}: run `localedef -i en_US -f UTF-8 {LOCALE}` at the server")


@pytest.fixture(name="database")
async def database_(cluster: Cluster, glibc_template: str) -> AsyncIterator[Database]:
    with cluster.database(glibc_template) as name:
        async with database.opened(cluster.url_of(name)) as opened:
            await opened.execute(SET_TIMEOUT)
            assert await opened.value("SELECT datcollate FROM pg_database WHERE datname = %s", name)
            yield opened


async def test_types_are_listed_and_counted_without_glibc(database: Database) -> None:
    await database.execute(
        'INSERT INTO events (type, "userId", "occurredAt") '
        "SELECT type, 'ann', %s FROM unnest(%s::text[]) AS types (type)",
        NOON,
        list(islice(cycle(SLOW), 30)),
    )
    async with reading(database) as api:
        assert await _types(api) == sorted(SLOW)
        found = await api.get_json("/events/autocompleteType", match="🦢")
        assert found["types"] == [SLOW[1]]
        counted = await api.get_json("/events/counts", since="2026-03-01", until="2026-03-02")
        assert [item["count"] for item in counted["types"]] == [15, 15]


async def _types(api: Reader) -> list[str]:
    return [item["type"] for item in await api.get_all("/events/types", "types", limit=1)]


async def test_a_batch_is_resolved_without_glibc(database: Database) -> None:
    ids = [text[:500] + str(number) for number in range(30) for text in SLOW]
    sightings = [
        EventIds(f"evt_{number}", NOON, f"user {name}" if number % 3 else None, name)
        for number, name in enumerate(ids)
    ]
    async with database.connection.transaction():
        plan = await store.resolve(database.connection, sightings, 100)
    assert len(set(plan.event_profiles)) == len(ids)
    assert await database.count("anonymousIds") == len(ids)


async def test_a_search_ignores_the_case_of_any_script(database: Database) -> None:
    await database.execute("INSERT INTO events (type) VALUES ('Übung')")
    async with reading(database) as api:
        assert (await api.get_json("/events/autocompleteType", match="üBUNG"))["types"] == ["Übung"]
