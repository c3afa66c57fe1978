"""A short run of `make chaos ARGS=--torture`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos import torture
from tests.chaos.torture import Size, TortureServers

SMALL = Size(events=3_000, resolvers=2, scanners=2, kills=4)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[TortureServers]:
    with torture.torture_servers(tmp_path / "servers") as running:
        yield running


@pytest.mark.faults
@pytest.mark.timeout(400)
async def test_killed_processes_and_hostile_events_give_the_profiles_of_the_definition(
    servers: TortureServers, tmp_path: Path
) -> None:
    verdict = await torture.run(servers, tmp_path / "run", 7, SMALL, Console())
    assert verdict.failures == []
    assert verdict.acknowledged == verdict.stored + verdict.erased == SMALL.events
    assert verdict.unlinks
    assert verdict.forgotten
    assert verdict.kills >= SMALL.kills
