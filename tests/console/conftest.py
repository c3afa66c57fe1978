from collections.abc import AsyncIterator

import pytest

from merganser.http.authentication import Permission
from tests.console.viewer import Viewer, viewing
from tests.support.database import Database


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
