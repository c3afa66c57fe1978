"""What happens between asking and writing, and between processes, on real Postgres."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from decoration.worker import LEASE_SECONDS
from merganser.identity.plan import EventIds
from merganser.identity.store import resolve
from merganser.runtime.postgres import connect
from tests.decoration.harness import GATED, NOW, DecorationHarness, query
from tests.properties.harness import COUNT
from tests.support.database import Database


@asynccontextmanager
async def in_flight(harness: DecorationHarness, source_database: Database) -> AsyncIterator[None]:
    """While the source is being asked; it answers after the block."""
    await source_database.execute("SELECT pg_advisory_lock(1)")
    await harness.begin()
    try:
        yield
    finally:
        await source_database.execute("SELECT pg_advisory_unlock(1)")
    await harness.worker.join()


@pytest.fixture
async def gated(harness: DecorationHarness) -> DecorationHarness:
    await harness.apply(query(sql=GATED))
    await harness.known("1", "2")
    return harness


async def test_a_profile_that_went(gated: DecorationHarness, source_database: Database) -> None:
    async with in_flight(gated, source_database):
        await gated.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    assert await gated.values() == {"2": ["pro"]}
    gated.later(LEASE_SECONDS + 30)
    await gated.settle()
    dues = await gated.database.column('SELECT "profileGuid" FROM "profileDecorations"')
    assert dues == ["pro_2"], "nothing is left of it"


async def test_a_profile_that_became_another_users(
    gated: DecorationHarness, source_database: Database
) -> None:
    async with in_flight(gated, source_database):
        await gated.database.execute("""UPDATE profiles SET "userId" = 'x' WHERE guid = 'pro_1'""")
    assert await gated.values() == {"2": ["pro"]}


async def test_a_rule_that_changed(gated: DecorationHarness, source_database: Database) -> None:
    async with in_flight(gated, source_database):
        await gated.apply(query("email", "plan"))
    assert await gated.values() == {}
    await gated.settle()
    assert await gated.values() == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_a_rule_that_changed_and_was_scheduled(
    gated: DecorationHarness, source_database: Database
) -> None:
    """The new rule's schedule takes the lease away: what is under way writes nothing."""
    other = gated.another()
    async with in_flight(gated, source_database):
        await gated.apply(query(sql=GATED), query("email", sql=GATED))
        await other.poll()
        await other.poll()
        assert (await gated.state()).due == 2
    assert await gated.values() == {}
    await gated.settle()
    assert await gated.values() == {"1": ["free"], "2": ["pro"]}
    assert await gated.values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}
    await other.close()


async def test_a_rule_that_went(gated: DecorationHarness, source_database: Database) -> None:
    async with in_flight(gated, source_database):
        await gated.apply()
    assert await gated.values() == {}


async def test_two_processes_share_the_work(
    harness: DecorationHarness, asked: list[tuple[str, ...]]
) -> None:
    await harness.apply(query(), batch=7)
    await harness.settle()
    users = [str(number) for number in range(100)]
    await harness.known(*users)
    others = [harness.another() for _ in range(3)]
    workers = [harness.worker, *others]
    while len(asked) < len(users) / 7:
        await asyncio.gather(*(worker.poll() for worker in workers))
    for worker in workers:
        await worker.join()
    assert sorted(user for batch in asked for user in batch) == sorted(users)
    for worker in others:
        await worker.close()


async def test_what_a_killed_process_had_comes_back(
    gated: DecorationHarness, source_database: Database, asked: list[tuple[str, ...]]
) -> None:
    other = gated.another()
    async with in_flight(gated, source_database):
        gated.later(LEASE_SECONDS - 1)
        await other.poll()
        assert len(asked) == 1, "it has a lease"
        gated.later(60)
        await other.poll()
        await asyncio.sleep(0.1)
        assert len(asked) == 2
        await source_database.execute("UPDATE users SET plan = 'gold'")
    await other.join()
    assert (await gated.state()).due == 0
    await other.close()


async def test_who_stops_gives_back_what_it_had(
    gated: DecorationHarness, source_database: Database
) -> None:
    async with in_flight(gated, source_database):
        await gated.worker.close()
        assert (await gated.state()).due == 2
        gated.worker = gated.another()
    await gated.settle()
    assert await gated.values() == {"1": ["free"], "2": ["pro"]}


async def test_a_source_that_hangs_does_not_slow_the_resolver(
    gated: DecorationHarness, source_database: Database
) -> None:
    """Not even for the very profiles that it is asked for."""
    async with (
        in_flight(gated, source_database),
        await connect(gated.database.url, "test") as resolver,
    ):
        started = time.monotonic()
        async with resolver.transaction():
            await resolver.execute("SET LOCAL lock_timeout = '100ms'")
            await resolver.execute('UPDATE profiles SET "updatedAt" = now()')
            new = [EventIds(f"evt_new{n}", NOW, f"new-{n}", f"anonymous-{n}") for n in range(50)]
            await resolve(resolver, new, 100)
        assert time.monotonic() - started < 1
    await gated.settle()
    assert await gated.values() == {"1": ["free"], "2": ["pro"]}


async def test_the_resolver_does_not_wait_for_a_claim(gated: DecorationHarness) -> None:
    """A row of the schedule may be locked by a process that was frozen in its transaction."""
    async with await connect(gated.database.url, "frozen") as frozen, frozen.transaction():
        await frozen.execute('SELECT FROM "profileDecorations" FOR UPDATE')
        async with await connect(gated.database.url, "resolver") as resolver:
            await resolver.execute("SET lock_timeout = '100ms'")
            await resolver.execute('UPDATE profiles SET "updatedAt" = now()')
            await resolver.execute("""UPDATE profiles SET "userId" = "userId" || '!'""")
            await resolver.execute("DELETE FROM profiles")


async def test_who_becomes_known_while_a_source_is_new(harness: DecorationHarness) -> None:
    """Its transaction has not seen the source, and ends when others have been scheduled."""
    await harness.apply(COUNT)
    async with await connect(harness.database.url, "resolver") as resolver:
        async with resolver.transaction():
            await resolver.execute("INSERT INTO profiles VALUES ('pro_1', '1')")
            applying = asyncio.create_task(harness.apply(query()))
            await asyncio.sleep(0.2)
            await harness.worker.poll()
        await applying
    await harness.settle()
    assert await harness.values() == {"1": ["free"]}
