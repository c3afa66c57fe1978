"""The benchmark of the console times every page."""

from starlette.routing import Match, Route

from dev.bench.console import NOT_TIMED, PAGES
from tests.console.viewer import Viewer


async def test_every_page_is_timed_or_there_is_a_reason(stranger: Viewer) -> None:
    """A new page needs an entry in dev/bench/console.py."""
    routes = {
        route.path: route
        for route in stranger.app.routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    }
    timed = {page.route for page in PAGES.values()}
    assert timed | NOT_TIMED.keys() == routes.keys()
    assert not timed & NOT_TIMED.keys()
    for page in PAGES.values():
        scope = {"type": "http", "method": "GET", "path": page.path.split("?")[0]}
        assert routes[page.route].matches(scope)[0] is Match.FULL
