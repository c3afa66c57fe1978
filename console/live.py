"""The live page: events as they are accepted or refused, and become resolved."""

import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import psycopg
import structlog
from starlette.requests import Request
from starlette.responses import Response

from console.access import Access, LoginNeeded, Viewer, viewer_of
from console.entries import Filter
from console.event_stream import HEARTBEAT, EventStream, format_message
from console.feed import Feed, News
from console.pages import render, render_part
from merganser.admin.keys import list_keys
from merganser.http.errors import HttpError
from merganser.queries.pool import Pool
from merganser.runtime import metrics
from merganser.runtime.postgres import describe

log = structlog.get_logger(__name__)

FIRST = 50
"""Events that the page shows at first."""

PAGE_SECONDS = 2.0
"""How long the page waits for Kafka."""

START_SECONDS = 20.0
"""How long a stream does. It tells what is wrong."""

MAX_STREAMS = 20
"""Viewers at the same time, in one process."""

STREAM_SECONDS = 45.0
"""Then the browser opens the stream again. A connection may take a minute for a response."""

TICK_SECONDS = 1.0
SESSION_SECONDS = 5.0
"""Between two checks that the viewer is still logged in."""

MAX_KEYS = 100
"""Newest API keys of the page's filter."""

_RETRY = "retry: 500\n\n"
"""How long a browser waits before it opens the stream again, in milliseconds."""


class Live:
    """The routes.

    Args:
        feed: follows the topics.
        pool: of connections to Postgres.
        access: knows who is logged in.
    """

    def __init__(self, feed: Feed, pool: Pool, access: Access) -> None:
        self._feed = feed
        self._pool = pool
        self._access = access
        self._streams = 0

    async def show(self, request: Request) -> Response:
        """Show the newest events. With JavaScript, the page then opens the stream."""
        viewer = viewer_of(request)
        wanted = _read_filter(request, viewer)
        names = await self._read_key_names()
        async with self._feed.watching(wanted) as watcher:
            shown = await self._feed.start(watcher, FIRST, PAGE_SECONDS)
        given = {name: value for name, value in request.query_params.items() if value}
        return render(
            request,
            "live.html",
            shown=shown[::-1],
            names=names,
            problems=list(self._feed.problems.values()),
            stream=f"/live/stream?{urlencode(given)}",
            is_filtered=wanted != Filter(),
        )

    async def stream(self, request: Request) -> Response:
        """Send the rows of events that arrive or become resolved."""
        return EventStream(self._messages(request, await self._read_key_names()))

    async def _messages(self, request: Request, names: dict[str, str]) -> AsyncGenerator[str]:
        if self._streams >= MAX_STREAMS:
            yield format_message("end", f"{MAX_STREAMS} people watch already.")
            return
        viewer = viewer_of(request)
        end = time.monotonic() + STREAM_SECONDS
        check_at = time.monotonic() + SESSION_SECONDS
        problem = ""
        with self._counting():
            yield _RETRY
            async with self._feed.watching(_read_filter(request, viewer)) as watcher:
                start = self._feed.start(watcher, FIRST, START_SECONDS)
                news = News(await self._feed.stop.unless(start) or [], [], 0, 0)
                while True:
                    yield HEARTBEAT + _format(news, viewer, names)
                    if problem != (problem := " ".join(self._feed.problems.values())):
                        yield format_message("problem", problem)
                    if await self._feed.stop.wait(TICK_SECONDS) or time.monotonic() > end:
                        return
                    if time.monotonic() > check_at:
                        check_at = time.monotonic() + SESSION_SECONDS
                        try:
                            viewer = await self._access.read_viewer(request)
                        except LoginNeeded:
                            yield format_message("end", "Your session has ended.")
                            return
                        except (HttpError, psycopg.Error) as error:
                            log.warning("a session is not checked", error=describe(error))
                    news = watcher.take()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count a stream while it is open."""
        self._streams += 1
        metrics.CONSOLE_LIVE_VIEWERS.set(self._streams)
        try:
            yield
        finally:
            self._streams -= 1
            metrics.CONSOLE_LIVE_VIEWERS.set(self._streams)

    async def _read_key_names(self) -> dict[str, str]:
        """Return the names of keys by their guids."""
        async with self._pool.reading() as connection:
            return {key.guid: key.name for key in await list_keys(connection, MAX_KEYS)}


def _format(news: News, viewer: Viewer, names: dict[str, str]) -> str:
    messages = []
    for kind, shown in (("rows", news.shown), ("resolved", news.resolved)):
        if shown:
            rows = render_part("live_rows.html", viewer=viewer, names=names, shown=shown)
            messages.append(format_message(kind, rows))
    if news.left_out or news.unread:
        counts = {"leftOut": news.left_out, "unread": news.unread}
        messages.append(format_message("counts", json.dumps(counts)))
    return "".join(messages)


def _read_filter(request: Request, viewer: Viewer) -> Filter:
    given = {name: request.query_params.get(name) or None for name in ("key", "type", "id")}
    if request.query_params.get("mine"):
        given["key"] = viewer.known_by
    return Filter(given["key"], given["type"], given["id"])
