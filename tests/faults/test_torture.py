"""A small torture: the same as `make torture`, in a minute."""

from pathlib import Path

import pytest

from tests.support.database import Cluster
from tests.support.servers import Servers
from tests.torture.torture import Size, torture

SMALL = Size(events=3_000, resolvers=2, scanners=2, kills=4)


pytestmark = pytest.mark.faults


@pytest.mark.timeout(400)
async def test_killed_processes_and_hostile_events_end_in_the_grouping_of_the_definition(
    servers_running: Servers, cluster: Cluster, template: str, tmp_path: Path
) -> None:
    verdict = await torture(
        servers_running.kafka_bootstrap, cluster, template, tmp_path, 7, SMALL, lambda _: None
    )
    assert verdict.disagreements == []
    assert verdict.kills >= SMALL.kills
