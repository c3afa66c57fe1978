"""Changes between a query and the write of its result, and races of processes, on real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from decoration.worker import LEASE_SECONDS
from merganser.identity.plan import EventIds
from merganser.identity.store import resolve
from merganser.runtime.postgres import connect
from tests.decoration.harness import BLOCKED_SQL, NOW, DecorationHarness, query
from tests.properties.harness import COUNT
from tests.support.database import Database, opened
from tests.support.waiting import equals, eventually


@asynccontextmanager
async def while_querying(
    harness: DecorationHarness, source_database: Database
) -> AsyncIterator[None]:
    """Block the query of the worker until the `async with` block ends."""
    await source_database.execute("SELECT pg_advisory_lock(1)")
    await harness.start_queries()
    try:
        yield
    finally:
        await source_database.execute("SELECT pg_advisory_unlock(1)")
    await harness.worker.join()


@pytest.fixture
async def blocked(harness: DecorationHarness) -> DecorationHarness:
    await harness.apply(query(sql=BLOCKED_SQL))
    await harness.add_users("1", "2")
    return harness


async def test_a_profile_deleted_during_a_query_gets_no_values(
    blocked: DecorationHarness, source_database: Database
) -> None:
    async with while_querying(blocked, source_database):
        await blocked.database.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
    assert await blocked.read_values() == {"2": ["pro"]}
    blocked.advance(LEASE_SECONDS + 30)
    await blocked.run_worker()
    dues = await blocked.database.column('SELECT "profileGuid" FROM "profileDecorations"')
    assert dues == ["pro_2"], "its schedule is deleted"


async def test_a_profile_deleted_while_it_is_scheduled_gets_no_schedule(
    harness: DecorationHarness,
) -> None:
    await harness.add_users("1", "2")
    await harness.apply(query())
    async with await connect(harness.database.url, "forget") as forget:
        async with forget.transaction():
            await forget.execute("DELETE FROM profiles WHERE guid = 'pro_1'")
            await forget.execute('DELETE FROM "profileDecorations"')
            working = asyncio.create_task(harness.run_worker())
            async with opened(harness.database.url) as other:
                await eventually(other.lock_waits)
        await working
    dues = await harness.database.column('SELECT "profileGuid" FROM "profileDecorations"')
    assert dues == ["pro_2"]


async def test_a_profile_whose_user_changes_during_a_query_gets_no_values(
    blocked: DecorationHarness, source_database: Database
) -> None:
    async with while_querying(blocked, source_database):
        await blocked.database.execute(
            """UPDATE profiles SET "userId" = 'x' WHERE guid = 'pro_1'"""
        )
    assert await blocked.read_values() == {"2": ["pro"]}


async def test_a_rule_changed_during_a_query_is_queried_again(
    blocked: DecorationHarness, source_database: Database
) -> None:
    async with while_querying(blocked, source_database):
        await blocked.apply(query("email", "plan"))
    assert await blocked.read_values() == {}
    await blocked.run_worker()
    assert await blocked.read_values() == {"1": ["a@x.io"], "2": ["b@x.io"]}


async def test_scheduling_a_changed_rule_revokes_the_lease_of_a_running_query(
    blocked: DecorationHarness, source_database: Database
) -> None:
    """Scheduling the new rule revokes the lease, so the running query writes nothing."""
    other = blocked.create_worker()
    async with while_querying(blocked, source_database):
        await blocked.apply(query(sql=BLOCKED_SQL), query("email", sql=BLOCKED_SQL))
        await other.poll()
        await other.poll()
        assert (await blocked.read_status()).due == 2
    assert await blocked.read_values() == {}
    await blocked.run_worker()
    assert await blocked.read_values() == {"1": ["free"], "2": ["pro"]}
    assert await blocked.read_values("email") == {"1": ["a@x.io"], "2": ["b@x.io"]}
    await other.close()


async def test_a_rule_removed_during_a_query_writes_nothing(
    blocked: DecorationHarness, source_database: Database
) -> None:
    async with while_querying(blocked, source_database):
        await blocked.apply()
    assert await blocked.read_values() == {}


async def test_two_processes_share_the_work(
    harness: DecorationHarness, queried: list[tuple[str, ...]]
) -> None:
    await harness.apply(query(), batch=7)
    await harness.run_worker()
    users = [str(number) for number in range(100)]
    await harness.add_users(*users)
    others = [harness.create_worker() for _ in range(3)]
    workers = [harness.worker, *others]
    while len(queried) < len(users) / 7:
        await asyncio.gather(*(worker.poll() for worker in workers))
    for worker in workers:
        await worker.join()
    assert sorted(user for batch in queried for user in batch) == sorted(users)
    for worker in others:
        await worker.close()


async def test_the_lease_of_a_killed_process_expires(
    blocked: DecorationHarness, source_database: Database, queried: list[tuple[str, ...]]
) -> None:
    other = blocked.create_worker()
    async with while_querying(blocked, source_database):
        blocked.advance(LEASE_SECONDS - 1)
        await other.poll()
        assert len(queried) == 1, "the first process has the lease"
        blocked.advance(60)
        await other.poll()
        await eventually(lambda: len(queried), equals(2))
        await source_database.execute("UPDATE users SET plan = 'gold'")
    await other.join()
    assert (await blocked.read_status()).due == 0
    await other.close()


async def test_a_stopping_process_returns_its_leases(
    blocked: DecorationHarness, source_database: Database
) -> None:
    async with while_querying(blocked, source_database):
        await blocked.worker.close()
        assert (await blocked.read_status()).due == 2
        blocked.worker = blocked.create_worker()
    await blocked.run_worker()
    assert await blocked.read_values() == {"1": ["free"], "2": ["pro"]}


async def test_a_hanging_source_does_not_block_the_resolver(
    blocked: DecorationHarness, source_database: Database
) -> None:
    """Not even for the profiles that the query is for."""
    async with (
        while_querying(blocked, source_database),
        await connect(blocked.database.url, "test") as resolver,
        resolver.transaction(),
    ):  # its lock_timeout fails a wait for a lock
        await resolver.execute("SET LOCAL lock_timeout = '100ms'")
        await resolver.execute('UPDATE profiles SET "updatedAt" = now()')
        new = [EventIds(f"evt_new{n}", NOW, f"new-{n}", f"anonymous-{n}") for n in range(50)]
        await resolve(resolver, new, 100)
    await blocked.run_worker()
    assert await blocked.read_values() == {"1": ["free"], "2": ["pro"]}


async def test_the_resolver_does_not_wait_for_a_claim(blocked: DecorationHarness) -> None:
    """A process that is frozen in its transaction may hold a lock on a row of the schedule."""
    async with await connect(blocked.database.url, "frozen") as frozen, frozen.transaction():
        await frozen.execute('SELECT FROM "profileDecorations" FOR UPDATE')
        async with await connect(blocked.database.url, "resolver") as resolver:
            await resolver.execute("SET lock_timeout = '100ms'")
            await resolver.execute('UPDATE profiles SET "updatedAt" = now()')
            await resolver.execute("""UPDATE profiles SET "userId" = "userId" || '!'""")
            await resolver.execute("DELETE FROM profiles")


async def test_a_user_added_while_a_source_is_applied_is_decorated(
    harness: DecorationHarness,
) -> None:
    """Its transaction starts before the source applies and commits after others are scheduled."""
    await harness.apply(COUNT)
    async with await connect(harness.database.url, "resolver") as resolver:
        async with resolver.transaction():
            await resolver.execute("INSERT INTO profiles VALUES ('pro_1', '1')")
            applying = asyncio.create_task(harness.apply(query()))
            async with opened(harness.database.url) as other:
                await eventually(other.lock_waits)
            await harness.worker.poll()
        await applying
    await harness.run_worker()
    assert await harness.read_values() == {"1": ["free"]}
