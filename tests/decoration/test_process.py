"""The decoration process as an operator runs it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.stack.home import Home
from dev.stack.ports import free_port
from merganser.runtime import metrics
from tests.decoration.harness import GATED, NOW, DecorationHarness, query
from tests.support.database import Database
from tests.support.service import Service
from tests.support.waiting import equals, eventually

GOOD = {"1": ["free"], "2": ["pro"]}


@pytest.fixture
async def service(harness: DecorationHarness, tmp_path: Path) -> AsyncIterator[Service]:
    """Not started yet."""
    env = {
        **harness.environment,
        "MERGANSER_DATABASE_URL": harness.database.url,
        "MERGANSER_LOG_FORMAT": "json",
        "MERGANSER_DECORATION_INTERVAL": "0.1",
    }
    home = Home(tmp_path / "home")
    with home.owned():
        service = Service(home, "decoration", "decoration", env, free_port(set()))
        yield service
        service.close()


async def test_it_decorates_within_a_second_and_measures(
    harness: DecorationHarness, service: Service
) -> None:
    await harness.apply(query(), query("email", type="email"))
    service.start()
    await service.ready()
    await eventually(lambda: harness.database.count("propertySourceStates"), equals(1))
    started = time.monotonic()
    await harness.known("1", "2")
    await eventually(harness.values, equals(GOOD))
    assert time.monotonic() - started < 2

    async def answered() -> float:
        return await service.metric(
            "merganser_decoration_calls_total", source="crm", outcome="answered"
        )

    assert await eventually(answered) >= 1
    measured = await service.metrics()
    ours = {family.name for family in measured.families if family.name.startswith("merganser_")}
    assert ours <= {family.name for family in metrics.DECORATION.collect()}
    assert measured.value("merganser_decoration_values_written_total", source="crm") == 4
    pending = "merganser_decoration_profiles_pending"
    await eventually(lambda: service.metric(pending, source="crm"), equals(0))
    assert await service.stop() == 0
    assert "Traceback" not in service.log


async def test_it_ends_in_time_although_a_source_hangs(
    harness: DecorationHarness, source_database: Database, service: Service
) -> None:
    await harness.apply(query(sql=GATED), timeout=300)
    await harness.known("1", "2")
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
    ), "what it had is given back"


async def test_killed_in_a_call_it_erases_nothing(
    harness: DecorationHarness, source_database: Database, service: Service
) -> None:
    await harness.apply(query())
    await harness.known("1", "2")
    await harness.settle()
    await harness.apply(query(sql=GATED))
    await source_database.execute("SELECT pg_advisory_lock(1)")
    service.start()
    await service.ready()
    due = """SELECT count(*) FROM "profileDecorations" WHERE "dueAt" > now() + '1 minute'"""
    await eventually(lambda: harness.database.value(due), equals(2))
    await service.kill()
    await source_database.execute("SELECT pg_advisory_unlock(1)")
    await asyncio.sleep(0.2)
    assert await harness.values() == GOOD


async def test_without_tables_it_ends_and_says_what_to_do(
    empty_database_url: str, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    with home.owned():
        env = {"MERGANSER_DATABASE_URL": empty_database_url}
        service = Service(home, "decoration", "decoration", env, free_port(set()))
        service.start()
        assert await service.ended(within=30) not in (0, None)
        assert "run `merganser migrate`" in service.log
