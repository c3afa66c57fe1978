"""The decoration process, started as an operator starts it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.stack.home import Home
from dev.stack.ports import free_port
from merganser.runtime import metrics
from tests.decoration.harness import BLOCKED_SQL, NOW, DecorationHarness, query
from tests.support.database import Database
from tests.support.service import Service
from tests.support.waiting import equals, eventually

GOOD = {"1": ["free"], "2": ["pro"]}


@pytest.fixture
async def service(harness: DecorationHarness, tmp_path: Path) -> AsyncIterator[Service]:
    """The process; the test starts it."""
    env = {
        **harness.environment,
        "MERGANSER_DATABASE_URL": harness.database.url,
        "MERGANSER_LOG_FORMAT": "json",
        "MERGANSER_DECORATION_INTERVAL": "0.1",
    }
    home = Home(tmp_path / "home")
    with home.owned():
        service = Service(home, "decoration", "decoration", env, free_port())
        yield service
        service.close()


async def test_the_process_decorates_new_users_and_reports_metrics(
    harness: DecorationHarness, service: Service
) -> None:
    await harness.apply(query(), query("email", type="email"))
    service.start()
    await service.ready()
    await eventually(lambda: harness.database.count("propertySourceStates"), equals(1))
    started = time.monotonic()
    await harness.add_users("1", "2")
    await eventually(harness.read_values, equals(GOOD))
    assert time.monotonic() - started < 2

    async def count_answered() -> float:
        return await service.metric(
            "merganser_decoration_calls_total", source="crm", outcome="answered"
        )

    assert await eventually(count_answered) >= 1
    measured = await service.metrics()
    exported = {family.name for family in measured.families if family.name.startswith("merganser_")}
    assert exported <= {family.name for family in metrics.DECORATION.collect()}
    assert measured.value("merganser_decoration_values_written_total", source="crm") == 4
    pending = "merganser_decoration_profiles_pending"
    await eventually(lambda: service.metric(pending, source="crm"), equals(0))
    assert await service.stop() == 0
    assert "Traceback" not in service.log


async def test_the_process_stops_while_a_source_hangs(
    harness: DecorationHarness, source_database: Database, service: Service
) -> None:
    await harness.apply(query(sql=BLOCKED_SQL), timeout=300)
    await harness.add_users("1", "2")
    await source_database.execute("SELECT pg_advisory_lock(1)")
    service.start()
    await service.ready()

    await eventually(source_database.lock_waits, equals(1))
    started = time.monotonic()
    assert await service.stop() == 0
    assert time.monotonic() - started < 5
    assert "Traceback" not in service.log
    assert "stopped" in service.log
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    assert (
        await harness.database.column('SELECT "dueAt" FROM "profileDecorations"')
        == [NOW.fromtimestamp(0, NOW.tzinfo)] * 2
    ), "its leases are returned"


async def test_a_process_killed_during_a_query_deletes_no_values(
    harness: DecorationHarness, source_database: Database, service: Service
) -> None:
    await harness.apply(query())
    await harness.add_users("1", "2")
    await harness.run_worker()
    await harness.apply(query(sql=BLOCKED_SQL))
    await source_database.execute("SELECT pg_advisory_lock(1)")
    service.start()
    await service.ready()
    due = """SELECT count(*) FROM "profileDecorations" WHERE "dueAt" > now() + '1 minute'"""
    await eventually(lambda: harness.database.value(due), equals(2))
    await service.kill()
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await asyncio.sleep(0.2)
    assert await harness.read_values() == GOOD


async def test_without_tables_the_process_stops_and_names_the_fix(
    empty_database_url: str, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    with home.owned():
        env = {"MERGANSER_DATABASE_URL": empty_database_url}
        service = Service(home, "decoration", "decoration", env, free_port())
        service.start()
        assert await service.ended(within=30) not in (0, None)
        assert "run `merganser migrate`" in service.log
