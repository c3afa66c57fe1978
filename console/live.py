"""The live page: events as they are accepted or refused, and become resolved."""

import json
import time
from collections.abc import AsyncGenerator
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from console.access import Access, LoginNeeded, Viewer, viewer_of
from console.entries import Filter
from console.event_stream import HEARTBEAT, EventStream, format_message
from console.feed import Feed, News, Shown
from console.pages import render, render_part
from merganser.admin.keys import read_key_names
from merganser.http.errors import HttpError
from merganser.queries.pool import Pool
from merganser.runtime import metrics
from merganser.runtime.lifecycle import Stop

FIRST = 50
"""Events that the page shows at first."""

PAGE_SECONDS = 2.0
"""How long the page waits for Kafka."""

MAX_STREAMS = 20
"""Viewers at the same time, in one process."""

STREAM_SECONDS = 45.0
"""Then the browser opens the stream again. A connection may take a minute for a response."""

TICK_SECONDS = 1.0
SESSION_SECONDS = 5.0
"""Between two checks that the viewer is still logged in."""

MAX_KEYS = 200
"""Newest API keys of the page's filter."""

_RETRY = "retry: 500\n\n"
"""How long a browser waits before it opens the stream again, in milliseconds."""


class Live:
    """The routes.

    Args:
        feed: follows the topics.
        pool: of connections to Postgres.
        access: knows who is logged in.
        stop: ends the streams.
    """

    def __init__(self, feed: Feed, pool: Pool, access: Access, stop: Stop) -> None:
        self._feed = feed
        self._pool = pool
        self._access = access
        self._stop = stop
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
        return EventStream(self._messages(request))

    async def _messages(self, request: Request) -> AsyncGenerator[str]:
        if self._streams >= MAX_STREAMS:
            yield format_message("end", f"{MAX_STREAMS} people watch already. Try again later.")
            return
        self._streams += 1
        metrics.CONSOLE_LIVE_VIEWERS.set(self._streams)
        try:
            async for message in self._follow(request, viewer_of(request)):
                yield message
        finally:
            self._streams -= 1
            metrics.CONSOLE_LIVE_VIEWERS.set(self._streams)

    async def _follow(self, request: Request, viewer: Viewer) -> AsyncGenerator[str]:
        yield _RETRY
        end = time.monotonic() + STREAM_SECONDS
        check_at = time.monotonic() + SESSION_SECONDS
        names = await self._read_key_names()
        async with self._feed.watching(_read_filter(request, viewer)) as watcher:
            shown = await self._feed.start(watcher, FIRST, STREAM_SECONDS)
            news = News(shown, [], 0, 0)
            while True:
                yield self._format(news, viewer, names)
                if await self._stop.wait(TICK_SECONDS) or time.monotonic() > end:
                    return
                if time.monotonic() > check_at:
                    check_at = time.monotonic() + SESSION_SECONDS
                    try:
                        viewer = await self._access.read_viewer(request, by_person=False)
                    except LoginNeeded:
                        yield format_message("end", "Your session has ended: log in again.")
                        return
                    except HttpError:
                        pass  # Postgres is away: the next stream needs it
                news = watcher.take()

    def _format(self, news: News, viewer: Viewer, names: dict[str, str]) -> str:
        def rows(shown: list[Shown]) -> str:
            return render_part("live_rows.html", viewer=viewer, names=names, shown=shown)

        messages = [HEARTBEAT]
        if news.shown:
            messages.append(format_message("rows", rows(news.shown)))
        if news.resolved:
            messages.append(format_message("resolved", rows(news.resolved)))
        if news.left_out or news.unread:
            counts = {"leftOut": news.left_out, "unread": news.unread}
            messages.append(format_message("counts", json.dumps(counts)))
        if self._feed.problems:
            messages.append(format_message("problem", " ".join(self._feed.problems.values())))
        return "".join(messages)

    async def _read_key_names(self) -> dict[str, str]:
        """Return the names of keys by their guids."""
        async with self._pool.reading() as connection:
            return await read_key_names(connection, MAX_KEYS)


def _read_filter(request: Request, viewer: Viewer) -> Filter:
    given = {name: request.query_params.get(name) or None for name in ("key", "type", "id")}
    if request.query_params.get("mine"):
        given["key"] = viewer.key.guid
    return Filter(given["key"], given["type"], given["id"])
