from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from merganser.http.authentication import Permission
from merganser.runtime.settings import ResolverSettings
from tests.console.viewer import Viewer, viewing
from tests.support.database import Database
from tests.support.system import System


@pytest.fixture
async def stranger(database: Database) -> AsyncIterator[Viewer]:
    """The console on the database of one test, opened by nobody who is logged in."""
    async with viewing(database) as viewer:
        yield viewer


@pytest.fixture
async def viewer(stranger: Viewer) -> Viewer:
    """The console, opened with a key that has all permissions."""
    await stranger.log_in(*Permission)
    return stranger


@pytest.fixture
async def system_viewer(system: System) -> AsyncIterator[Viewer]:
    """The console on the database and the topics of one test, opened with all permissions."""
    settings = ResolverSettings(
        kafka_bootstrap=system.env["MERGANSER_KAFKA_BOOTSTRAP"],
        database_url=SecretStr(system.database.url),
        topic=system.events.name,
        dead_topic=system.dead.name,
        refused_topic=system.refused.name,
        consumer_group=system.env.get("MERGANSER_CONSUMER_GROUP", "merganser-resolver"),
    )
    async with viewing(system.database, settings=settings) as opened:
        await opened.log_in(*Permission)
        yield opened
