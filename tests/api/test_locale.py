"""On a database with glibc's en_US, as the official image makes it: what it compares so slowly that
nothing would ever end is compared byte by byte instead."""

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

PATIENCE = "SET statement_timeout = '5s'"
"""For statements that take milliseconds when they do not ask glibc, and minutes when they do."""


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
            await opened.execute(PATIENCE)
            assert await opened.value("SELECT datcollate FROM pg_database WHERE datname = %s", name)
            yield opened


async def test_the_types_of_events(database: Database) -> None:
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
        assert [one["count"] for one in counted["types"]] == [15, 15]


async def _types(api: Reader) -> list[str]:
    return [one["type"] for one in await api.get_all("/events/types", "types", limit=1)]


async def test_the_ids_of_a_batch(database: Database) -> None:
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
