"""Time each route of the read API on 5,000,000 events, and show its query plans.

The API runs in this process, without a network. Its cheapest response is the baseline: 404 for an
unknown event, after one statement by key.
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
from dev.bench import servers
from dev.bench.table import show
from merganser.http.authentication import ApiKeys, Permission, hash_key
from merganser.queries.pool import Pool
from merganser.runtime import metrics, sql
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Connection, Database, connect
from merganser.runtime.settings import ApiSettings

REQUESTS = 100
"""Requests for each route, each for the next page."""

NOTHING = "/event/evt_none"
MOMENT = {"to": "2026-01-15T00:00:00.000001Z"}
"""Parameters for pages of half a million events of the same time."""

PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "events": ("/events", {}),
    "events of one moment": ("/events", MOMENT),
    "events of a type": ("/events", {"type": "pageview"}),
    "events of a rare type": ("/events", {"type": "refund"}),
    "events of a visitor": ("/events", {"anonymousId": "visitor-7"}),
    "events of a visitor with 1,000,000": ("/events", {"anonymousId": "visitor-1"}),
    "events without a profile": ("/events", {"associated": "false"}),
    "events with data that no event has": ("/events", {"dataKey": "path", "dataValue": "none"}),
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


class RecordingConnection:
    """A connection that records the statements that it executes."""

    def __init__(self, connection: Connection, statements: dict[bytes, Mapping[str, Any]]) -> None:
        self._connection = connection
        self._statements = statements

    async def execute(self, statement: bytes, values: Mapping[str, Any]) -> Any:
        """Execute a statement."""
        self._statements[statement] = dict(values)
        return await self._connection.execute(statement, values)


class RecordingPool(Pool):
    """A pool that records the statements of its connections."""

    def __init__(self, url: str, settings: ApiSettings) -> None:
        wait_seconds = metrics.POOL_WAIT_SECONDS
        super().__init__(
            "api", wait_seconds, url, settings.api_connections, settings.api_statement_timeout
        )
        self.statements: dict[bytes, Mapping[str, Any]] = {}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Do what `Pool.reading` does."""
        async with super().reading() as connection:
            yield cast("Connection", RecordingConnection(connection, self.statements))

    async def plans(self) -> list[Any]:
        """Return the plan of each recorded statement, with its last values."""
        plans = []
        async with super().reading() as connection:
            for statement, values in self.statements.items():
                explain = b"EXPLAIN (FORMAT JSON) " + statement
                (row,) = await (await connection.execute(explain, values)).fetchall()
                plans.append(row[0][0]["Plan"])
        return plans


def main() -> None:
    """Print medians, 99th percentiles, ratios and the kinds of scans."""
    with servers.running(kafka=False) as running, servers.database(running) as url:
        asyncio.run(_measure(url))


async def _measure(url: str) -> None:
    secret = secrets.token_urlsafe()
    async with await connect(url, "bench") as connection:
        await fill(connection, secret)
    settings = ApiSettings(_env_file=None)
    keys = Database(url, "keys")
    pool = RecordingPool(url, settings)
    await pool.open()
    api = app.create_app(pool, ApiKeys(keys, 1, Stop(), ""), settings.api_scan, settings.nobody_ids)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api),
        base_url="http://api/api/v1",
        headers={"authorization": f"Bearer {secret}"},
    ) as client:
        rows = []
        for name, page in PAGES.items():
            times, baseline = await _alternate(client, page)
            p50, p99 = median(times), quantiles(times, n=100)[98]
            rows.append(
                (
                    name,
                    *(f"{seconds * 1000:.1f}" for seconds in (p50, p99)),
                    *(f"{seconds / median(baseline):.1f}" for seconds in (p50, p99)),
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


async def fill(connection: AsyncConnection[Any], secret: str) -> None:
    """Fill the tables, and store a key with all permissions."""
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
    """Return the seconds of consecutive pages and of baseline requests, sent in turn."""
    path, parameters = page
    seconds, baseline = [], []
    cursor: dict[str, str] = {}
    for _ in range(REQUESTS):
        answer = await client.get(path, params={**parameters, **cursor})
        next_cursor = answer.raise_for_status().json().get("nextCursor")
        cursor = {"cursor": next_cursor} if next_cursor else {}
        seconds.append(answer.elapsed.total_seconds())
        nothing = await client.get(NOTHING)
        baseline.append(nothing.elapsed.total_seconds())
    return seconds, baseline


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)
