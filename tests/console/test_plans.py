"""Each statement of a page uses an index and reads few rows of tables of any size.

The tables are those of tests/api/test_plans.py. An explanation of a profile with very many events
may take longer than a page: it has its own transaction, and the page then says so.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from console.feed import MAX_LOOKED_UP
from merganser.http.authentication import Permission
from merganser.queries.events import read_profile_guids
from tests.api.reader import Reader
from tests.api.test_plans import (
    BOUND,
    Executed,
    executed,
    large,
    rows_read,
    scans,
    statistics,
)
from tests.console.viewer import Viewer, viewing

__all__ = ["executed", "large", "statistics"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "newest profiles and merges": ("/profiles", {}),
    "a userId": ("/profiles", {"q": "user 4"}),
    "an anonymousId": ("/profiles", {"q": "visitor 7"}),
    "a merged guid": ("/profiles", {"q": "pro_old7"}),
    "an unknown id": ("/profiles", {"q": "nobody"}),
    "a property": ("/profiles", {"property": "plan", "value": "free"}),
    "a profile": ("/profiles/pro_7", {}),
    "a person": ("/privacy", {"id": "user 4"}),
    "an event": ("/events/evt_00000007", {}),
    "rules": ("/rules", {}),
    "the log of actions": ("/actions", {}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large_viewer(large: Reader) -> AsyncIterator[Viewer]:
    """The console on many events."""
    async with viewing(large.database) as opened:
        await opened.log_in(*Permission)
        yield opened


@pytest.mark.parametrize("case", PAGES)
async def test_a_page_reads_few_rows_by_index(
    large: Reader, large_viewer: Viewer, executed: Executed, case: str
) -> None:
    path, parameters = PAGES[case]
    await large_viewer.page(path, **parameters)
    for node in await scans(large, executed):
        assert node["Node Type"] != "Seq Scan"
        assert rows_read(node) <= BOUND, node


async def test_the_profiles_of_live_events_are_read_by_their_guids(
    large: Reader, executed: Executed
) -> None:
    guids = [f"evt_{number:08}" for number in range(MAX_LOOKED_UP)]
    async with large.pool.reading() as connection:
        assert await read_profile_guids(connection, guids)
    for node in await scans(large, executed):
        assert node["Node Type"] != "Seq Scan"
        assert rows_read(node) <= MAX_LOOKED_UP, node
