"""How many events each API key sent: counted by ingest, and written in the background."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingest import usage
from ingest.usage import KeyUsage
from merganser.runtime import postgres
from merganser.runtime.lifecycle import Stop
from tests.ingest.test_publishable_keys import OTHER, SHOP, publishable_key, send
from tests.support import proxy
from tests.support.database import Database
from tests.support.system import System
from tests.support.waiting import equals, eventually

ACCEPTED = "merganser_ingest_events_accepted_total"
EVENT = {"type": "t", "userId": "1"}


async def counts(database: Database) -> dict[str, tuple[int, int]]:
    """Return the accepted and the refused events of each key, by the key's name."""
    rows = await database.rows(
        """SELECT name, sum(events)::int, sum(refused)::int
        FROM "keyUsage" JOIN "apiKeys" ON guid = "keyGuid" GROUP BY name"""
    )
    return {name: (events, refused) for name, events, refused in rows}


async def totals(database: Database) -> dict[str, tuple[int, int]]:
    """Return the accepted and the refused events by guid, also of keys that the table lacks."""
    rows = await database.rows(
        """SELECT "keyGuid", sum(events)::int, sum(refused)::int FROM "keyUsage" GROUP BY 1"""
    )
    return {guid: (events, refused) for guid, events, refused in rows}


async def test_accepted_and_refused_events_count_for_their_key(system: System) -> None:
    gateway = await system.ingest(ingest_burst=3)
    await gateway.tracked(**EVENT)
    batch = await gateway.batch([EVENT, {"type": "t"}, EVENT])
    assert [result["success"] for result in batch.json()["events"]] == [True, False, True]
    page = await publishable_key(system, "--origin", SHOP, "--rate", "0.001")
    assert await send(gateway, page, {"origin": OTHER}, events=5) == 403
    assert await send(gateway, page, {"origin": SHOP}, events=3) == 200
    assert await send(gateway, page, {"origin": SHOP}, events=2) == 429
    reader = await system.key("reader", "events:read")
    assert await send(gateway, reader, events=4) == 403
    assert await send(gateway, "unknown", events=9) == 401
    before = await system.database.value("SELECT now()")
    assert await gateway.stop() == 0
    assert await counts(system.database) == {"tests": (3, 1), "page": (3, 7), "reader": (0, 4)}
    used = await system.database.column('SELECT "lastUsedAt" FROM "keyUsage"')
    assert all(0 <= (before - time).total_seconds() < 600 for time in used)


async def test_events_that_kafka_does_not_take_are_refused(system: System) -> None:
    gateway = await system.ingest()
    await system.events.refuse_larger(2000)

    async def send_large_event() -> int:
        answer = await gateway.track(**EVENT, data={"a": "x" * 5000})
        return answer.status_code

    await eventually(send_large_event, equals(503))
    assert await gateway.stop() == 0
    accepted, refused = (await counts(system.database))["tests"]
    assert accepted == await system.events.size()
    assert refused >= 1


async def test_workers_add_to_the_same_rows(system: System) -> None:
    gateway = await system.ingest(ingest_workers=2)

    async def accepted_by(worker: str) -> float:
        await asyncio.gather(*(gateway.tracked(**EVENT) for _ in range(8)))
        return (await gateway.metrics()).value(ACCEPTED, key_kind="secret", worker=worker)

    for worker in ("ingest-1", "ingest-2"):
        await eventually(lambda w=worker: accepted_by(w), lambda total: total > 20)  # type: ignore[misc]
    assert await gateway.stop(within=20) == 0
    assert await counts(system.database) == {"tests": (await system.events.size(), 0)}
    hours = await system.database.column('SELECT hour FROM "keyUsage"')
    assert all(hour.minute == hour.second == hour.microsecond == 0 for hour in hours)
    assert len(hours) <= 2, "each worker has its own row"


async def test_events_accepted_while_postgres_is_away_are_counted_later(system: System) -> None:
    async with proxy.run(system.database.url) as (network, url):
        gateway = await system.ingest(database_url=url)
        await gateway.tracked(**EVENT)
        await network.stop()
        for _ in range(20):
            await gateway.tracked(**EVENT)
        assert await gateway.why_not_ready() == {}
        await network.start()
        await eventually(lambda: counts(system.database), equals({"tests": (21, 0)}))


async def test_a_gateway_stops_while_postgres_hangs(system: System) -> None:
    async with proxy.run(system.database.url) as (network, url):
        gateway = await system.ingest(database_url=url)
        await gateway.tracked(**EVENT)
        network.freeze()
        assert await gateway.stop() == 0


@asynccontextmanager
async def counting(url: str, *, stop: Stop | None = None) -> AsyncIterator[KeyUsage]:
    """Write counts often for the length of an `async with` block, and then the last ones."""
    stop = stop or Stop()
    database = postgres.Database(url, "usage")
    counted = KeyUsage(database, stop, interval=0.05)
    running = asyncio.create_task(counted.run())
    try:
        yield counted
    finally:
        stop.set()
        await running
        await counted.close()
        await database.close()


async def test_a_failed_write_loses_no_counts(database: Database) -> None:
    async with proxy.run(database.url) as (network, url), counting(url) as counted:
        counted.add("key_1", 1, 2)
        await eventually(lambda: totals(database), equals({"key_1": (1, 2)}))
        network.cut_at = b"INSERT INTO"
        for _ in range(3):
            counted.add("key_1", 10, 0)
        counted.add("key_2", 0, 1)
        await eventually(lambda: network.cut_at is None)
        counted.add("key_1", 10, 0)
        wanted = {"key_1": (41, 2), "key_2": (0, 1)}
        await eventually(lambda: totals(database), equals(wanted))


async def test_a_write_that_postgres_refuses_is_tried_again(database: Database) -> None:
    await database.execute('ALTER TABLE "keyUsage" RENAME TO other')
    async with counting(database.url) as counted:
        counted.add("key_1", 1, 0)
        refused = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        before = await database.value(refused)

        async def refusals() -> int:
            await database.execute("SELECT pg_stat_clear_snapshot()")
            return int(await database.value(refused) - before)

        await eventually(refusals, lambda number: number > 1)
        counted.add("key_1", 2, 0)
        await database.execute('ALTER TABLE other RENAME TO "keyUsage"')
        await eventually(lambda: totals(database), equals({"key_1": (3, 0)}))


async def test_processes_that_write_at_the_same_time_add_up(database: Database) -> None:
    async def write(step: int) -> None:
        async with counting(database.url) as counted:
            for _ in range(10):
                for key in range(50):  # in another order in each process
                    counted.add(f"key_{key * step % 50}", 1, 1)
                await asyncio.sleep(0.03)

    await asyncio.gather(*(write(step) for step in (1, 3, 7, 9)))
    assert await totals(database) == {f"key_{key}": (40, 40) for key in range(50)}


async def test_the_oldest_counts_are_dropped_if_too_many_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_COUNTS", 2)
    connection = postgres.Database(database.url, "usage")
    counted = KeyUsage(connection, Stop())
    for key in ("key_1", "key_2", "key_3", "key_2"):
        counted.add(key, 1, 0)
    await counted.close()
    await connection.close()
    assert await totals(database) == {"key_2": (2, 0), "key_3": (1, 0)}


async def test_hours_older_than_30_days_are_deleted(database: Database) -> None:
    await database.execute(
        """INSERT INTO "keyUsage"
        SELECT 'key_' || age, now() - make_interval(days => age), 1, 0, now()
        FROM (VALUES (29), (31), (300)) AS ages (age)"""
    )
    async with counting(database.url) as counted:
        counted.add("key_0", 1, 0)
    assert set(await totals(database)) == {"key_0", "key_29"}
