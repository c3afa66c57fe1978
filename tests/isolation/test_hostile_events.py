"""A record or row that cannot be processed never affects others."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.isolation.hostile import GUIDS, HostileRecord, HostileRow, records, rows
from tests.isolation.running_processes import RunningProcesses
from tests.support import database, examples, topics
from tests.support.servers import Servers
from tests.support.system import opened_system, settings_env

EXAMPLES = examples.count(fast=10, full=40, nightly=10_000)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def processes(
    runner: asyncio.Runner, servers_running: Servers, database_url: str, tmp_path: Path
) -> Iterator[RunningProcesses]:
    """Start processes that all examples share; the tables keep the events of earlier examples."""
    bootstrap, stack = servers_running.kafka_bootstrap, AsyncExitStack()

    async def start() -> RunningProcesses:
        base = await stack.enter_async_context(database.opened(database_url))
        created = await stack.enter_async_context(topics.created(bootstrap))
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        env = settings_env(bootstrap, database_url, created)
        system = stack.enter_context(opened_system(tmp_path, env, base, created))
        processes = RunningProcesses(system, await stack.enter_async_context(producer))
        await processes.start()
        return processes

    yield runner.run(start())
    runner.run(stack.aclose())


@pytest.mark.timeout(14_400 if examples.NIGHTLY else 180)
def test_hostile_events_do_not_affect_others(
    processes: RunningProcesses, runner: asyncio.Runner
) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(records, max_size=8),
        st.lists(rows, max_size=4, unique_by=lambda row: row.guid),
        st.lists(st.sampled_from(GUIDS), max_size=3),
    )
    def examples(hostile: list[HostileRecord], inserted: list[HostileRow], gone: list[str]) -> None:
        runner.run(processes.check(hostile, inserted, gone))

    examples()
