"""Each route of the read API on 5,000,000 events: how long a page takes, and by which plans.

The API runs in this process, without a network. Its own cheapest answer is the yardstick: 404 for
an event that is not there, after one statement by key.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from statistics import median, quantiles
from typing import Any, cast

import httpx
from psycopg import AsyncConnection

from api import app
from api.database import Pool
from dev.bench import servers
from dev.bench.table import show
from merganser.http.authentication import ApiKeys, Permission, hash_key
from merganser.runtime import sql
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Connection, Database, connect
from merganser.runtime.settings import ApiSettings

REQUESTS = 100
"""Of each kind, every one for the page after the one before."""

NOTHING = "/event/evt_none"
MOMENT = {"to": "2026-01-15T00:00:00.000001Z"}
"""Where pages begin among half a million events of one moment."""

PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "events": ("/events", {}),
    "events of one moment": ("/events", MOMENT),
    "events of a type": ("/events", {"type": "pageview"}),
    "events of a rare type": ("/events", {"type": "refund"}),
    "events of a visitor": ("/events", {"anonymousId": "visitor-7"}),
    "events of a visitor with 1,000,000": ("/events", {"anonymousId": "visitor-1"}),
    "events without a profile": ("/events", {"associated": "false"}),
    "events with data that none has": ("/events", {"dataKey": "path", "dataValue": "none"}),
    "an event": ("/event/evt_01a20b62-00000007-7de5-b6d7-710b0f3a9c44", {}),
    "types": ("/events/types", {}),
    "types that contain a text": ("/events/autocompleteType", {"match": "kind"}),
    "counts of a week, 600,000": ("/events/counts", {"from": "2026-02-01", "to": "2026-02-08"}),
    "profiles": ("/profiles", {}),
    "profiles by userId": ("/profiles", {"userId": "user-4"}),
    "profiles by a property": ("/profiles", {"property": "plan", "value": "free"}),
    "a profile": ("/profile/pro_00000004", {}),
    "a profile's events": ("/profile/pro_00000004/events", {}),
    "a profile's events, 1,000,000": ("/profile/pro_00000001/events", {}),
    "a profile's merges, 100,000": ("/profile/pro_00000004/merges", {}),
    "a profile explained": ("/profile/pro_00000007/explain", {}),
    "a profile of 1,000,000 explained": ("/profile/pro_00000001/explain", {}),
}

_SQL = sql.load(__package__, "read_api.sql")


class Heard:
    """A connection that keeps what is asked by way of it."""

    def __init__(self, connection: Connection, asked: dict[bytes, Mapping[str, Any]]) -> None:
        self._connection = connection
        self._asked = asked

    async def execute(self, statement: bytes, values: Mapping[str, Any]) -> Any:
        """Execute a statement."""
        self._asked[statement] = dict(values)
        return await self._connection.execute(statement, values)


class HearingPool(Pool):
    """A pool that keeps what is asked by way of its connections."""

    def __init__(self, url: str, settings: ApiSettings) -> None:
        super().__init__(url, settings.api_connections, settings.api_statement_timeout)
        self.asked: dict[bytes, Mapping[str, Any]] = {}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """As any pool's."""
        async with super().reading() as connection:
            yield cast("Connection", Heard(connection, self.asked))

    async def plans(self) -> list[Any]:
        """The plans of each statement that was asked, with its last values."""
        found = []
        async with super().reading() as connection:
            for statement, values in self.asked.items():
                explain = b"EXPLAIN (FORMAT JSON) " + statement
                (row,) = await (await connection.execute(explain, values)).fetchall()
                found.append(row[0][0]["Plan"])
        return found


def main() -> None:
    """Print medians, 99th percentiles, ratios, and how the tables are read."""
    with servers.running(kafka=False) as running, servers.database(running) as url:
        asyncio.run(_measure(url))


async def _measure(url: str) -> None:
    secret = secrets.token_urlsafe()
    async with await connect(url, "bench") as connection:
        await _fill(connection, secret)
    settings = ApiSettings(_env_file=None)
    keys = Database(url, "keys")
    pool = HearingPool(url, settings)
    await pool.open()
    api = app.create_app(pool, ApiKeys(keys, 1, Stop(), ""), settings.api_scan)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api),
        base_url="http://api/api/v1",
        headers={"authorization": f"Bearer {secret}"},
    ) as client:
        rows = []
        for name, page in PAGES.items():
            took, yardstick = await _alternate(client, page)
            p50, p99 = median(took), quantiles(took, n=100)[98]
            rows.append(
                (
                    name,
                    *(f"{seconds * 1000:.1f}" for seconds in (p50, p99)),
                    *(f"{seconds / median(yardstick):.1f}" for seconds in (p50, p99)),
                )
            )
    kinds = {
        node["Node Type"]
        for plan in await pool.plans()
        for node in _nodes(plan)
        if "Relation Name" in node
    }
    await pool.close()
    await keys.close()
    show(
        f"pages of 100 of 5,000,000 events, {REQUESTS} each; ratios to {NOTHING}",
        ("what", "p50 ms", "p99 ms", "p50 ratio", "p99 ratio"),
        rows,
    )
    print(f"by EXPLAIN, tables are read by: {', '.join(sorted(kinds))}")


async def _fill(connection: AsyncConnection[Any], secret: str) -> None:
    for name, statement in _SQL.items():
        start = time.perf_counter()
        await connection.execute(statement)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    await connection.execute(
        'INSERT INTO "apiKeys" (name, "keyHash", permissions) VALUES (\'bench\', %s, %s)',
        (hash_key(secret), list(Permission)),
    )
    await connection.execute("VACUUM ANALYZE")


async def _alternate(
    client: httpx.AsyncClient, page: tuple[str, dict[str, str]]
) -> tuple[list[float], list[float]]:
    """Seconds of pages, one after the other, and of the yardstick, in turn."""
    path, parameters = page
    took, yardstick = [], []
    cursor: dict[str, str] = {}
    for _ in range(REQUESTS):
        answer = await client.get(path, params={**parameters, **cursor})
        onward = answer.raise_for_status().json().get("nextCursor")
        cursor = {"cursor": onward} if onward else {}
        took.append(answer.elapsed.total_seconds())
        nothing = await client.get(NOTHING)
        yardstick.append(nothing.elapsed.total_seconds())
    return took, yardstick


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)
