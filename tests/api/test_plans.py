"""Each statement uses an index and reads a bounded number of rows of tables of any size."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from tests.api.reader import SCAN, Reader, reading
from tests.support import database
from tests.support.database import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = 50_000
BOUND = SCAN + 1
"""Rows that all loops of one scan may read together."""

FILL = """
INSERT INTO profiles (guid, "userId")
SELECT 'pro_' || n, CASE WHEN n %% 4 = 0 THEN 'user ' || n END FROM generate_series(0, 4999) AS n;
INSERT INTO "anonymousIds" ("anonymousId", "profileGuid")
SELECT 'visitor ' || n, 'pro_' || n FROM generate_series(0, 4999) AS n;
-- Half of all events are of profile 0, a tenth is of one moment, few are of type `rare`.
INSERT INTO events (guid, type, "userId", "anonymousId", "profileGuid", "occurredAt", "createdAt")
SELECT
    'evt_' || lpad(n::text, 8, '0'),
    CASE WHEN n %% 10000 = 0 THEN 'rare' WHEN n %% 3 = 0 THEN 'kind ' || n %% 20 ELSE 'view' END,
    CASE WHEN p %% 4 = 0 THEN 'user ' || p END, 'visitor ' || p,
    CASE WHEN n %% 7 <> 0 THEN 'pro_' || p END,
    timestamptz '2026-01-01Z' + CASE WHEN n %% 20 < 2 THEN 0 ELSE n END * interval '1 minute',
    timestamptz '2026-01-01Z' + n * interval '1 minute'
FROM generate_series(1, %(events)s) AS n,
LATERAL (SELECT CASE WHEN n %% 2 = 0 THEN 0 ELSE n %% 5000 END AS p) AS whose;
INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'path', '/' || type FROM events;
INSERT INTO "profileProperties" ("profileGuid", key, value)
SELECT guid, 'plan', 'free' FROM profiles;
INSERT INTO "profileMerges"
    ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid", "createdAt")
SELECT 'device ' || n, 'evt_x', 'user', 'merged', 'pro_old' || n, 'pro_' || n %% 2, now()
FROM generate_series(1, 20000) AS n;
INSERT INTO actions (source, actor, action, "createdAt")
SELECT 'cli', 'me', 'key created', now() - n * interval '1 second'
FROM generate_series(1, 20000) AS n;
"""

LARGE = {
    *("actions", "anonymousIds", "eventData", "events", "profileMerges", "profileProperties"),
    "profiles",
}

TIE = {"until": "2026-01-01T00:00:00.000001Z"}
"""Starts a page among thousands of events of the same time."""

PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "all events": ("/events", {}),
    "events of one time": ("/events", TIE),
    "events up to a time": ("/events", {"until": "2026-01-10"}),
    "events after the last": ("/events", {"since": "2030-01-01"}),
    "a frequent type": ("/events", {"type": "view"}),
    "a frequent type at one time": ("/events", {"type": "view", **TIE}),
    "a rare type": ("/events", {"type": "rare"}),
    "an unknown type": ("/events", {"type": "none"}),
    "a large profile": ("/events", {"profileGuid": "pro_0"}),
    "a large profile at one time": ("/events", {"profileGuid": "pro_0", **TIE}),
    "a small profile": ("/events", {"profileGuid": "pro_7"}),
    "a rare type of a large profile": ("/events", {"profileGuid": "pro_0", "type": "rare"}),
    "a user": ("/events", {"userId": "user 4"}),
    "a visitor": ("/events", {"anonymousId": "visitor 7"}),
    "a frequent visitor": ("/events", {"anonymousId": "visitor 0"}),
    "a frequent visitor's rare type": ("/events", {"anonymousId": "visitor 0", "type": "rare"}),
    "events without a profile": ("/events", {"associated": "false"}),
    "events with a profile": ("/events", {"associated": "true"}),
    "data that all have": ("/events", {"dataKey": "path"}),
    "data that none has": ("/events", {"dataKey": "path", "dataValue": "none"}),
    "an event": ("/event/evt_00000007", {}),
    "types that contain a text": ("/events/autocompleteType", {"match": "kind"}),
    "all profiles": ("/profiles", {}),
    "a user's profile": ("/profiles", {"userId": "user 4"}),
    "a visitor's profile": ("/profiles", {"anonymousId": "visitor 7"}),
    "profiles by a property": ("/profiles", {"property": "plan", "value": "free"}),
    "profiles by a value that none has": ("/profiles", {"property": "plan", "value": "none"}),
    "a profile": ("/profile/pro_7", {}),
    "a large profile's timeline": ("/profile/pro_0/events", {}),
    "many merges": ("/profile/pro_1/merges", {}),
    "an explanation": ("/profile/pro_7/explain", {}),
}


COUNTS: dict[str, tuple[str, dict[str, str]]] = {
    "types": ("/events/types", {}),
    "counts of all types": ("/events/counts", {"since": "2026-01-01", "until": "2026-01-08"}),
    "counts of a type": (
        "/events/counts",
        {"since": "2026-01-01", "until": "2026-01-08", "type": "view"},
    ),
}
"""These read every row that they count, from an index."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(cluster: Cluster, template: str) -> AsyncIterator[Reader]:
    """The API on many events, without statistics for the planner at first."""
    with cluster.database(template) as name:
        async with database.opened(cluster.url_of(name)) as opened, reading(opened) as reader:
            for table in LARGE:
                await opened.connection.execute(
                    f'ALTER TABLE "{table}" SET (autovacuum_enabled = off)'.encode()
                )
            for statement in FILL.split(";")[:-1]:
                await opened.connection.execute(statement.encode(), {"events": EVENTS})
            yield reader


Executed = list[tuple[bytes, Mapping[str, Any]]]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Executed:
    """All statements that are executed during the test, with their values."""
    statements: Executed = []
    execute = psycopg.AsyncConnection.execute

    async def record(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        if isinstance(query, bytes) and isinstance(params, Mapping):
            statements.append((query, params))
        return await execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", record)
    return statements


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", autouse=True, params=["no statistics", "statistics"]
)
async def statistics(large: Reader, request: pytest.FixtureRequest) -> None:
    """Statistics of the planner: at first none, as after a bulk load, then complete ones."""
    if request.param == "statistics":
        await large.database.execute("ANALYZE")


@pytest.mark.parametrize("case", PAGES)
async def test_a_page_reads_few_rows_by_index(large: Reader, executed: Executed, case: str) -> None:
    path, parameters = PAGES[case]
    await large.get_json(path, **parameters)
    for node in await scans(large, executed):
        assert node["Node Type"] != "Seq Scan"
        assert rows_read(node) <= BOUND, node


@pytest.mark.parametrize("case", COUNTS)
async def test_counts_read_only_an_index(large: Reader, executed: Executed, case: str) -> None:
    path, parameters = COUNTS[case]
    await large.get_json(path, **parameters)
    for node in await scans(large, executed):
        assert node["Node Type"] in {"Index Scan", "Index Only Scan"}
        assert node.get("Rows Removed by Filter", 0) == 0, node


async def test_a_deletion_finds_its_rows_by_index(large: Reader, executed: Executed) -> None:
    last = await large.database.value("SELECT max(guid) FROM events")
    response = await large.request("DELETE", f"/api/v1/event/{last}")
    assert response.status_code == 200
    for node in await scans(large, executed):
        assert node["Node Type"] in {"ModifyTable", "LockRows", "Index Scan", "Index Only Scan"}
        assert rows_read(node) <= 1, node


async def scans(api: Reader, executed: Executed) -> list[Any]:
    """Return the plan nodes that read large tables, of all executed statements."""
    statements = list(executed)
    assert statements
    plans = [await explain(api, statement, values) for statement, values in statements]
    found = [node for plan in plans for node in nodes(plan) if node.get("Relation Name") in LARGE]
    assert found
    return found


def rows_read(node: Any) -> float:
    """Return the rows that all loops of a node read, including filtered ones."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    each = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return float(each * node["Actual Loops"])


async def explain(api: Reader, statement: bytes, values: Mapping[str, Any]) -> Any:
    async with api.pool.writing() as connection:
        cursor = await connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement, dict(values)
        )
        (((plan,),),) = await cursor.fetchall()
    return plan["Plan"]


def nodes(plan: Any) -> Iterator[Any]:
    """Yield all nodes of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)
