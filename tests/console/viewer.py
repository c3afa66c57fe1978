"""A client of the console. Like a browser, it has a cookie and says where a request comes from."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from console import app
from console.access import Access
from console.app import ConsoleApp
from console.background import Background
from console.feed import Feed
from console.monitor import Monitor
from console.proxy_users import ProxyUsers
from console.sessions import Lifetime
from merganser.http.authentication import ApiKeys, Permission
from merganser.queries.pool import Pool
from merganser.runtime import metrics, postgres
from merganser.runtime.lifecycle import Stop
from merganser.runtime.settings import ResolverSettings
from tests.api.reader import Reader, new_key
from tests.support.database import Database

SCAN = 1000
TRIES = 10
ORIGIN = "http://console"
FROM_PAGE = {"sec-fetch-site": "same-origin", "origin": ORIGIN}
"""The headers of a form that a page of the console sends."""


@dataclass
class Viewer:
    """Opens pages in this process, with a key that has all permissions."""

    app: ConsoleApp
    database: Database
    key: str
    client: httpx.AsyncClient
    store: Reader
    """Stores events on their profiles."""
    monitor: Monitor
    """Takes samples only when a test or a page says so."""
    feed: Feed
    """Reads the topics only in a test that runs it."""

    async def log_in(self, *permissions: str) -> None:
        """Log in with a new key that has these permissions."""
        response = await self.send_key(await new_key(self.database, *permissions))
        assert response.status_code == 303, response.text

    async def send_key(self, key: str, **headers: str) -> httpx.Response:
        """Send the login form."""
        return await self.post("/login", {"key": key}, **headers)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """Send a form of a page; again if Postgres took too long, as the response asks."""
        return await self._send("POST", path, data=fields, headers={**FROM_PAGE, **headers})

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        """GET a path; again if Postgres took too long, as the response asks."""
        return await self._send("GET", path, params=parameters or None)

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        for _ in range(TRIES):
            response = await self.client.request(method, path, **options)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(float(response.headers.get("retry-after", 0)))
        return response

    async def page(self, path: str, **parameters: Any) -> str:
        """Return the HTML of a page, which must exist."""
        response = await self.get(path, **parameters)
        assert response.status_code == 200, response.text
        return response.text

    async def text(self, path: str, **parameters: Any) -> str:
        """Return the text of a page, without markup."""
        return text_of(await self.page(path, **parameters))


def text_of(page: str) -> str:
    """Return what a page shows, with single spaces."""
    without_head = re.sub(r"<head>.*?</head>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", without_head)).split())


@asynccontextmanager
async def viewing(
    database: Database,
    lifetime: Lifetime | None = None,
    url: str | None = None,
    settings: ResolverSettings | None = None,
    users: ProxyUsers | None = None,
) -> AsyncIterator[Viewer]:
    """Run the console for the length of an `async with` block; nobody is logged in yet."""
    keys_database = postgres.Database(database.url, "keys")
    keys = ApiKeys(keys_database, 60, Stop(), "it")
    pool = Pool("console", metrics.CONSOLE_POOL_WAIT_SECONDS, database.url, 2, 5)
    await pool.open()
    access = Access(pool, keys, lifetime or Lifetime(3600, 43_200), url, users)
    settings = settings or ResolverSettings(database_url=SecretStr(database.url))
    stop = Stop()
    monitor = Monitor(pool, settings, stop)
    background = Background(stop)
    feed = Feed(pool, settings, stop)
    console = app.create_app(pool, keys, access, SCAN, monitor, settings, background, feed)
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(console), base_url=url or ORIGIN
        ) as client:
            key = await new_key(database, *Permission)
            store = Reader(console, pool, database, key)
            yield Viewer(console, database, key, client, store, monitor, feed)
    finally:
        await pool.close()
        await keys_database.close()
