"""Each statement follows an index and reads a bounded number of rows, whatever the table's size."""

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
"""Rows that one scan of a plan may read, in all its loops."""

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
"""

LARGE = {"anonymousIds", "eventData", "events", "profileMerges", "profileProperties", "profiles"}

TIE = {"until": "2026-01-01T00:00:00.000001Z"}
"""Starts a page among thousands of events of one moment."""

QUESTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "all events": ("/events", {}),
    "events of one moment": ("/events", TIE),
    "events up to a time": ("/events", {"until": "2026-01-10"}),
    "events after the last": ("/events", {"since": "2030-01-01"}),
    "a frequent type": ("/events", {"type": "view"}),
    "a frequent type in one moment": ("/events", {"type": "view", **TIE}),
    "a rare type": ("/events", {"type": "rare"}),
    "no type": ("/events", {"type": "none"}),
    "a large profile": ("/events", {"profileGuid": "pro_0"}),
    "a large profile in one moment": ("/events", {"profileGuid": "pro_0", **TIE}),
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
    "why": ("/profile/pro_7/explain", {}),
}


COUNTS: dict[str, tuple[str, dict[str, str]]] = {
    "types": ("/events/types", {}),
    "counts of all types": ("/events/counts", {"since": "2026-01-01", "until": "2026-01-08"}),
    "counts of a type": (
        "/events/counts",
        {"since": "2026-01-01", "until": "2026-01-08", "type": "view"},
    ),
}
"""What is counted is read, from an index."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(cluster: Cluster, template: str) -> AsyncIterator[Reader]:
    """The API on many events, of which the planner knows nothing at first."""
    with cluster.database(template) as name:
        async with database.opened(cluster.url_of(name)) as opened, reading(opened) as reader:
            for table in LARGE:
                await opened.connection.execute(
                    f'ALTER TABLE "{table}" SET (autovacuum_enabled = off)'.encode()
                )
            for statement in FILL.split(";")[:-1]:
                await opened.connection.execute(statement.encode(), {"events": EVENTS})
            yield reader


Heard = list[tuple[bytes, Mapping[str, Any]]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """All statements that are executed from now on, with their values."""
    found: Heard = []
    execute = psycopg.AsyncConnection.execute

    async def listen(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        if isinstance(query, bytes) and isinstance(params, Mapping):
            found.append((query, params))
        return await execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", listen)
    return found


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", autouse=True, params=["no statistics", "statistics"]
)
async def statistics(large: Reader, request: pytest.FixtureRequest) -> None:
    """What the planner knows: first nothing, as after a bulk load, then all."""
    if request.param == "statistics":
        await large.database.execute("ANALYZE")


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_page_reads_little_by_index(large: Reader, heard: Heard, question: str) -> None:
    path, parameters = QUESTIONS[question]
    await large.get_json(path, **parameters)
    for node in await scans(large, heard):
        assert node["Node Type"] != "Seq Scan"
        assert rows_read(node) <= BOUND, node


@pytest.mark.parametrize("question", COUNTS)
async def test_counting_reads_an_index(large: Reader, heard: Heard, question: str) -> None:
    path, parameters = COUNTS[question]
    await large.get_json(path, **parameters)
    for node in await scans(large, heard):
        assert node["Node Type"] in {"Index Scan", "Index Only Scan"}
        assert node.get("Rows Removed by Filter", 0) == 0, node


async def test_a_deletion_finds_its_rows_by_index(large: Reader, heard: Heard) -> None:
    last = await large.database.value("SELECT max(guid) FROM events")
    response = await large.request("DELETE", f"/api/v1/event/{last}")
    assert response.status_code == 200
    for node in await scans(large, heard):
        assert node["Node Type"] in {"ModifyTable", "LockRows", "Index Scan", "Index Only Scan"}
        assert rows_read(node) <= 1, node


async def scans(api: Reader, heard: Heard) -> list[Any]:
    """The nodes that read large tables, of all statements that were executed."""
    statements = list(heard)
    assert statements
    plans = [await explained(api, statement, values) for statement, values in statements]
    found = [node for plan in plans for node in nodes(plan) if node.get("Relation Name") in LARGE]
    assert found
    return found


def rows_read(node: Any) -> float:
    """By all loops together, those that did not fit too."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    each = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return float(each * node["Actual Loops"])


async def explained(api: Reader, statement: bytes, values: Mapping[str, Any]) -> Any:
    async with api.pool.writing() as connection:
        cursor = await connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement, dict(values)
        )
        (((plan,),),) = await cursor.fetchall()
    return plan["Plan"]


def nodes(plan: Any) -> Iterator[Any]:
    """A plan's nodes, each once."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)
