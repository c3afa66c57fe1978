"""A Postgres that is frozen does not delay the shutdown of a resolver."""

import pytest

from tests.support import proxy
from tests.support.events import event
from tests.support.service import Service
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = pytest.mark.faults


async def test_sigterm_while_postgres_is_frozen_loses_nothing(
    system: System,
) -> None:
    async with proxy.run(system.database.url) as (network, url):
        resolver = await system.resolver(
            database_url=url, resolver_session_timeout=6, resolver_silence=2
        )
        network.freeze()
        await system.events.publish_events([event(anonymous="person_1")])
        # It has fetched the event and waits for Postgres.
        await eventually(lambda: _lag(resolver), equals(1))
        reasons = await eventually(resolver.why_not_ready)
        assert "1 records wait, and none was resolved" in reasons["stalled"]
        assert await resolver.stop() == 0
    await system.resolver()
    await eventually(lambda: system.database.count("events"), equals(1))


async def _lag(resolver: Service) -> float:
    return (await resolver.metrics()).total("merganser_resolver_lag_records")
