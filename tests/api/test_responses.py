"""What all responses share: ETags, errors and CORS. Also the OpenAPI document and docs/api.md."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from merganser.http.errors import ErrorKind
from merganser.runtime import metrics
from tests.api.reader import Reader, reading
from tests.support import ROOT, proxy
from tests.support.database import Database
from tests.support.events import event
from tests.support.waiting import equals, eventually

OMITTED = {
    ErrorKind.ORIGIN_NOT_ALLOWED,
    ErrorKind.TIMEOUT,
    ErrorKind.TOO_LARGE,
    ErrorKind.RATE_LIMITED,
    ErrorKind.RATE_LIMITED_RETRY,
    ErrorKind.INTERNAL,
}
"""Errors that docs/api.md omits: those of requests with events, and internal errors."""


async def test_an_unchanged_response_is_304(api: Reader) -> None:
    await api.store(event("ann"))
    first = await api.get("/events")
    tag = first.headers["etag"]
    assert "no-cache" in first.headers["cache-control"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await api.get("/events", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b""), known
        assert again.headers["etag"] == tag
    await api.store(event("ann"))
    changed = await api.get("/events", headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_head_returns_the_headers_of_get(api: Reader) -> None:
    await api.store(event("ann"))
    same = {"x-request-id": "mine", "accept-encoding": "identity"}
    for path, status in (("/api/v1/events", 200), ("/docs", 200), ("/api/v1/event/none", 404)):
        get, head = await api.request("GET", path, same), await api.request("HEAD", path, same)
        assert (head.status_code, head.headers, head.content) == (status, get.headers, b"")
        assert int(head.headers["content-length"]) == len(get.content)
    assert (await api.request("HEAD", "/api/v1/events", {"authorization": ""})).status_code == 401


async def test_unchanged_counts_are_304(api: Reader) -> None:
    query = {"bucket": "month"}
    tag = (await api.get("/events/counts", **query)).headers["etag"]
    again = await api.get("/events/counts", headers={"if-none-match": tag}, **query)
    assert again.status_code == 304


async def test_errors_have_no_etag(api: Reader) -> None:
    for path in ("/event/evt_none", "/events?limit=0"):
        response = await api.get(path, headers={"if-none-match": "*"})
        assert response.status_code in {404, 422}
        assert "etag" not in response.headers


async def test_extra_slashes_in_paths_are_ignored(api: Reader) -> None:
    assert (await api.request("GET", "http://api//api/v1//events/")).status_code == 200


async def test_pages_of_other_origins_can_read_responses(api: Reader) -> None:
    origin = {"origin": "https://dash.example.test"}
    for path in ("/api/v1/events", "/api/v1/event/evt_none", "/nothing"):
        response = await api.request("GET", path, origin)
        assert response.headers["access-control-allow-origin"] == origin["origin"]
        # Otherwise any page could read with the credentials that a browser has stored.
        assert "access-control-allow-credentials" not in response.headers
        assert "ETag" in response.headers["access-control-expose-headers"]
    response = await api.request(
        "OPTIONS", "/api/v1/event/evt_1", {**origin, "access-control-request-method": "DELETE"}
    )
    assert response.status_code == 204
    assert "DELETE" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"]


async def test_a_statement_that_takes_too_long_is_cancelled(database: Database) -> None:
    async with reading(database, statement_timeout=0.1) as api:
        async with locked_events(database):
            status, error = await api.get_error("/event/evt_1")
            assert (status, error["code"]) == (503, "timeout")
        assert (await api.get("/events")).status_code == 200


async def test_an_internal_error_does_not_reveal_its_cause(api: Reader) -> None:
    await api.store(event("ann"))
    await api.database.execute("ALTER TABLE events RENAME TO stored")
    await api.database.execute(
        "CREATE VIEW events AS SELECT * FROM stored WHERE ('secret' || guid)::integer = 0"
    )
    status, error = await api.get_error("/events")
    assert (status, error["code"]) == (500, "internal")
    assert "secret" not in str(error)


async def test_requests_wait_for_a_connection(api: Reader) -> None:
    responses = await asyncio.gather(*(api.get("/events") for _ in range(20)))
    assert {response.status_code for response in responses} == {200}


async def test_a_request_is_refused_when_no_connection_becomes_free(database: Database) -> None:
    async with reading(database, wait=0.2) as api:
        assert (await api.get("/events")).status_code == 200
        async with locked_events(database):
            busy = [asyncio.create_task(api.get("/event/evt_1")) for _ in range(2)]
            await eventually(lambda: blocked_statements(database), equals(2))
            before = read_wait_seconds()
            response = await api.get("/events")
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert int(response.headers["retry-after"]) > 0
            assert read_wait_seconds() >= before + 0.2
        assert {response.status_code for response in await asyncio.gather(*busy)} == {404}
        assert (await api.get("/events")).status_code == 200


@asynccontextmanager
async def locked_events(database: Database) -> AsyncIterator[None]:
    """Lock the table `events` for the length of an `async with` block."""
    async with database.connection.transaction():
        await database.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield


async def blocked_statements(database: Database) -> int:
    """Return how many statements wait for a lock."""
    return int(await database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))


async def test_requests_are_refused_while_postgres_is_unreachable(database: Database) -> None:
    async with (
        proxy.run(database.url) as (network, url),
        reading(database, url=url) as api,
    ):
        assert (await api.get("/events")).status_code == 200
        await network.stop()
        for _ in range(3):
            response = await api.get("/events")
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert int(response.headers["retry-after"]) > 0
        await network.start()
        await eventually(lambda: _status(api), equals(200), within=5)


async def _status(api: Reader) -> int:
    return (await api.get("/events")).status_code


async def test_the_statements_of_a_request_share_a_read_only_snapshot(api: Reader) -> None:

    async with api.pool.reading() as connection:
        before = await (await connection.execute("SELECT count(*) FROM events")).fetchone()
        await api.store(event("ann"))
        after = await (await connection.execute("SELECT count(*) FROM events")).fetchone()
        assert before == after

    async def delete() -> None:
        async with api.pool.reading() as connection:
            await connection.execute("DELETE FROM events")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await delete()


async def document(api: Reader) -> Any:
    response = await api.request("GET", "/openapi.json", {"authorization": ""})
    assert response.status_code == 200
    return response.json()


async def test_the_document_describes_all_operations(api: Reader) -> None:
    found = await document(api)
    assert found["openapi"].startswith("3.")
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            assert {"200", "401", "403", "422", "503"} <= set(operation["responses"])
            for parameter in operation.get("parameters", []):
                assert parameter["description"], (path, parameter["name"])
            assert operation["security"] == [{"bearer": []}, {"basic": []}, {"apiKey": []}]


async def test_docs_api_md_has_every_route_and_error(api: Reader) -> None:
    manual = (ROOT / "docs" / "api.md").read_text()
    for path, operations in (await document(api))["paths"].items():
        for method in operations:
            assert f"| `{method.upper()} {path.removeprefix('/api/v1')}` |" in manual
    for problem in set(ErrorKind) - OMITTED:
        assert f"| {problem.status} | `{problem.code}` |" in manual


def read_wait_seconds() -> float:
    """Return how many seconds all requests have waited for a connection so far."""
    return metrics.API.get_sample_value("merganser_api_pool_wait_seconds_sum") or 0.0
