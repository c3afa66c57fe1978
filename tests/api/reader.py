"""A client of the read API that can also store the events to read."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from api import app
from merganser.http.asgi import App
from merganser.http.authentication import ApiKeys, Permission, hash_key
from merganser.identity import store
from merganser.identity.plan import EventIds
from merganser.queries.pool import Pool
from merganser.runtime import metrics, postgres
from merganser.runtime.lifecycle import Stop
from schemas.event import Event
from schemas.ids import NOBODY
from tests.support.database import Database

SCAN = 1000


class Reader:
    """Calls the API in this process, with a key that has all permissions."""

    def __init__(self, app: App, pool: Pool, database: Database, key: str) -> None:
        self.app = app
        self.pool = pool
        self.database = database
        self.key = key
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    async def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, **parameters: Any
    ) -> httpx.Response:
        """Send a request; `since` becomes `from`, which is a keyword in Python; `until` is `to`."""
        names = {"since": "from", "until": "to"}
        query = {names.get(name, name): value for name, value in parameters.items()}
        authorization = {"authorization": f"Bearer {self.key}"}
        return await self._client.request(
            method, path, params=query or None, headers={**authorization, **(headers or {})}
        )

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        """GET a path below /api/v1."""
        return await self.request("GET", f"/api/v1{path}", **parameters)

    async def get_json(self, path: str, **parameters: Any) -> Any:
        """Return the body of a GET, which must succeed."""
        response = await self.get(path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    async def get_error(self, path: str, **parameters: Any) -> tuple[int, Any]:
        """Return the status and the inner error of a GET; the outer error must be the same."""
        response = await self.get(path, **parameters)
        body = response.json()
        inner = body["error"]
        assert (body["code"], body["message"]) == (inner["code"], inner["message"])
        return response.status_code, inner

    async def pages(self, path: str, part: str, **parameters: Any) -> list[list[Any]]:
        """Return this field of each page, up to the last page."""
        pages = []
        while True:
            page = await self.get_json(path, **parameters)
            pages.append(page[part])
            assert len(pages) < 1000, "the pages do not end"
            if page["nextCursor"] is None:
                return pages
            parameters["cursor"] = page["nextCursor"]

    async def get_all(self, path: str, part: str, **parameters: Any) -> list[Any]:
        """Return that part of all pages together."""
        return [entry for page in await self.pages(path, part, **parameters) for entry in page]

    async def store(self, *events: Event) -> None:
        """Store events on their profiles, as the resolver does."""
        async with (
            await postgres.connect(self.database.url, "test") as connection,
            connection.transaction(),
        ):
            plan = await store.resolve(connection, [_sighting(event) for event in events], 1000)
            await _insert(self.database, events, plan.event_profiles)

    async def insert_unresolved(self, *events: Event) -> None:
        """Insert events without a profile, as other systems do."""
        await _insert(self.database, events, [None] * len(events))

    async def profile_of(self, event: Event) -> str:
        """Return the guid of an event's profile."""
        return str(
            await self.database.value(
                'SELECT "profileGuid" FROM events WHERE guid = %s', event["guid"]
            )
        )

    async def new_key(self, *permissions: str, kind: str = "secret") -> str:
        """Create a key with these permissions and return its secret."""
        return await new_key(self.database, *permissions, kind=kind)


@asynccontextmanager
async def reading(
    database: Database,
    scan: int = SCAN,
    statement_timeout: float = 5,
    wait: float = 2,
    url: str | None = None,
    pool_class: type[Pool] = Pool,
) -> AsyncIterator[Reader]:
    """Run the API for the length of an `async with` block.

    Args:
        database: that the API reads.
        scan: the most events that a page reads.
        statement_timeout: in seconds.
        wait: the longest wait for one of its two connections, in seconds.
        url: of the database for the API's pool; by default the database's own.
        pool_class: of its pool of connections.
    """
    keys_database = postgres.Database(database.url, "keys")
    keys = ApiKeys(keys_database, 60, Stop(), "?apiKey=KEY")
    pool = pool_class(
        "api", metrics.POOL_WAIT_SECONDS, url or database.url, 2, statement_timeout, wait
    )
    await pool.open()
    try:
        key = await new_key(database, *Permission)
        yield Reader(app.create_app(pool, keys, scan, NOBODY), pool, database, key)
    finally:
        await pool.close()
        await keys_database.close()


async def new_key(database: Database, *permissions: str, kind: str = "secret") -> str:
    """Create a key with these permissions and return its secret."""
    secret = secrets.token_urlsafe()
    await database.execute(
        'INSERT INTO "apiKeys" (name, "keyHash", permissions, kind) VALUES (\'test\', %s, %s, %s)',
        hash_key(secret),
        list(permissions),
        kind,
    )
    return secret


def _sighting(event: Event) -> EventIds:
    return EventIds(event["guid"], event["occurredAt"], event["userId"], event["anonymousId"])


async def _insert(
    database: Database, events: Sequence[Event], profiles: Sequence[str | None]
) -> None:
    columns = ("guid", "producerGuid", "ipAddress", "createdAt", "occurredAt", "type")
    async with database.connection.cursor() as cursor:
        await cursor.executemany(
            'INSERT INTO events (guid, "producerGuid", "ipAddress", "createdAt", "occurredAt", '
            'type, "userId", "anonymousId", "profileGuid") '
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (*(event[name] for name in (*columns, "userId", "anonymousId")), profile)  # type: ignore[literal-required] # all are columns
                for event, profile in zip(events, profiles, strict=True)
            ],
        )
        await cursor.executemany(
            'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
            [
                (event["guid"], key, value)
                for event in events
                for key, value in event["data"].items()
            ],
        )
