"""A client of the read API, and what it needs to find something: events written as for real."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from api import app
from api.database import Pool
from merganser.http.authentication import Keys, Permission, digest
from merganser.http.ops_server import App
from merganser.identity import store
from merganser.identity.plan import Sighting
from merganser.runtime import postgres
from merganser.runtime.lifecycle import Stop
from schemas.event import Event
from tests.support.database import Database

SCAN = 1000


class Reader:
    """Asks the API in this process, with a key that may do everything."""

    def __init__(self, app: App, pool: Pool, database: Database, key: str) -> None:
        self.app = app
        self.pool = pool
        self.database = database
        self.key = key
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    async def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, **parameters: Any
    ) -> httpx.Response:
        """Any request; `since` and `until` stand for `from`, a word of Python, and `to`."""
        names = {"since": "from", "until": "to"}
        asked = {names.get(name, name): value for name, value in parameters.items()}
        authorization = {"authorization": f"Bearer {self.key}"}
        return await self._client.request(
            method, path, params=asked or None, headers={**authorization, **(headers or {})}
        )

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        """GET a path below /api/v1."""
        return await self.request("GET", f"/api/v1{path}", **parameters)

    async def found(self, path: str, **parameters: Any) -> Any:
        """What is found there, which must be an answer 200."""
        answer = await self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, **parameters: Any) -> tuple[int, Any]:
        """The status and the inner error, which must agree with the outer one."""
        answer = await self.get(path, **parameters)
        body = answer.json()
        inner = body["error"]
        assert (body["code"], body["message"]) == (inner["code"], inner["message"])
        return answer.status_code, inner

    async def pages(self, path: str, part: str, **parameters: Any) -> list[list[Any]]:
        """That part of each page, to the last one."""
        pages = []
        while True:
            page = await self.found(path, **parameters)
            pages.append(page[part])
            assert len(pages) < 1000, "it never ends"
            if page["nextCursor"] is None:
                return pages
            parameters["cursor"] = page["nextCursor"]

    async def everything(self, path: str, part: str, **parameters: Any) -> list[Any]:
        """That part of all pages together."""
        return [one for page in await self.pages(path, part, **parameters) for one in page]

    async def write(self, *events: Event) -> None:
        """Store events on their profiles, as the resolver does."""
        async with (
            await postgres.connect(self.database.url, "test") as connection,
            connection.transaction(),
        ):
            plan = await store.resolve(connection, [_sighting(event) for event in events], 1000)
            await _insert(self.database, events, plan.assignments)

    async def leave(self, *events: Event) -> None:
        """Store events as other systems do, on no profile yet."""
        await _insert(self.database, events, [None] * len(events))

    async def profile_of(self, event: Event) -> str:
        """The guid of an event's profile."""
        return str(
            await self.database.value(
                'SELECT "profileGuid" FROM events WHERE guid = %s', event["guid"]
            )
        )

    async def new_key(self, *permissions: str) -> str:
        """A key with these permissions."""
        return await new_key(self.database, *permissions)


@asynccontextmanager
async def reading(
    database: Database,
    scan: int = SCAN,
    statement_timeout: float = 5,
    wait: float = 2,
    url: str | None = None,
    pool_class: type[Pool] = Pool,
) -> AsyncIterator[Reader]:
    """The API for the length of an `async with` block.

    Args:
        database: what it reads.
        scan: events that a page looks at.
        statement_timeout: in seconds.
        wait: the longest wait for one of its two connections, in seconds.
        url: by which it reaches the database, if not by the database's own.
        pool_class: of its pool of connections.
    """
    keys_database = postgres.Database(database.url, "keys")
    keys = Keys(keys_database, 60, Stop(), "?apiKey=KEY")
    pool = pool_class(url or database.url, 2, statement_timeout, wait)
    await pool.open()
    try:
        key = await new_key(database, *Permission)
        yield Reader(app.create(pool, keys, scan), pool, database, key)
    finally:
        await pool.close()
        await keys_database.close()


async def new_key(database: Database, *permissions: str) -> str:
    """Store a key's hash; its secret."""
    secret = secrets.token_urlsafe()
    await database.execute(
        'INSERT INTO "apiKeys" (name, "keyHash", permissions) VALUES (\'test\', %s, %s)',
        digest(secret),
        list(permissions),
    )
    return secret


def _sighting(event: Event) -> Sighting:
    return Sighting(event["guid"], event["occurredAt"], event["userId"], event["anonymousId"])


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
