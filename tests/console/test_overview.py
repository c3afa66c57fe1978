"""The first page: figures from the real Kafka and Postgres."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from console.monitor import rates
from tests.console.test_profiles import store_story
from tests.console.viewer import Viewer
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually


@asynccontextmanager
async def monitoring(viewer: Viewer) -> AsyncIterator[None]:
    """Let the console sample the pipeline for the length of a block."""
    task = asyncio.create_task(viewer.monitor.run())
    try:
        yield
    finally:
        task.cancel()


async def test_the_page_shows_what_waits_and_what_is_resolved(
    system: System, system_viewer: Viewer
) -> None:
    gateway = await system.ingest()
    for number in range(7):
        await gateway.tracked(type="pageview", userId=f"user-{number}")

    async def text() -> str:
        return await system_viewer.text("/")

    async def lines() -> set[str]:
        return set(re.findall('class="([a-z]+)" points="', await system_viewer.page("/")))

    async with monitoring(system_viewer):
        await eventually(text, lambda found: "Kafka lag 7" in found)
        await system.resolver()
        await eventually(text, lambda found: "Kafka lag 0" in found)
        assert "in 4 partitions of the topic" in await text()
        assert "Everything that arrived is processed" in await text()
        # A line needs two rates, so three reads of Kafka.
        await eventually(lines, equals({"accepted", "processed"}))


async def test_without_kafka_the_page_shows_the_tables(viewer: Viewer) -> None:
    await store_story(viewer)
    await viewer.store.insert_unresolved(event("ann"))
    await viewer.database.execute(
        """UPDATE events SET "createdAt" = now() - interval '1 hour' WHERE "profileGuid" IS NULL"""
    )
    text = await viewer.text("/")
    assert "Kafka does not answer. Check the brokers." in text
    assert "Merges 2 in the last hour" in text
    assert "Rows that wait 1 the oldest for 60 min" in text
    assert "A row waits for its profile for 60 minutes. Check that a scanner runs." in text


async def test_items_for_an_operator_are_named_first(viewer: Viewer) -> None:
    await viewer.database.execute(
        """INSERT INTO "setAside" (kind, subject, reason) VALUES
        ('record', 'c/events/0/1', 'failed'), ('record', 'c/events/0/2', 'failed'),
        ('row', 'evt_1', 'failed')"""
    )
    text = await viewer.text("/")
    assert "3 items are set aside, 2 of them dead letters. See the reasons." in text
    assert '<a href="/dead-letters">See the reasons.</a>' in await viewer.page("/")
    assert "2 dead letters, 1 row" in text


async def test_rows_that_are_never_resolved_do_not_count(viewer: Viewer) -> None:
    await viewer.store.insert_unresolved(event("null"), event(None, None))
    assert "Rows that wait 0" in await viewer.text("/")


def test_a_rate_is_the_increase_per_second() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    counts = [0, 10, None, 40, 35, 45]
    values = [(start + timedelta(seconds=2 * n), count) for n, count in enumerate(counts)]
    # A replay moves the resolvers back: the rate is not negative then.
    assert rates(values) == [5, None, None, 0, 5]
