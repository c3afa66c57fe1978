"""Requests that the read API refuses."""

from typing import Any

import pytest

from tests.api.reader import Reader

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"since": "yesterday"}, "from"),
        ({"until": "2026-13-01"}, "to"),
        ({"associated": "maybe"}, "associated"),
        ({"type": "\0"}, "type"),
        ({"type": "x" * 513}, "type"),
        ({"dataValue": "1"}, "query"),
        ({"typ": "view"}, "typ"),
        ({"type": ["view", "buy"]}, "type"),
    ],
)
async def test_an_invalid_parameter_is_refused_by_name(
    idle: Reader, parameters: dict[str, Any], field: str
) -> None:
    status, error = await idle.get_error("/events", **parameters)
    assert (status, error["code"], list(error["fields"])) == (422, "invalid", [field])
    assert error["fields"][field] in error["message"]


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "é", "WyJldmVudHMiXQ", "bnVsbA", "W1tbW1tb" * 900),
        # of another list; not a time; a time before year 1; a NUL; a lone surrogate
        "WyJ0eXBlcyIsIngiXQ",
        "WyJldmVudHMiLCJub3ciLCJ4Il0",
        "WyJldmVudHMiLCIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjAwIiwieCJd",
        "WyJldmVudHMiLCIyMDI2LTAxLTAxIiwiXHUwMDAwIl0",
        "WyJldmVudHMiLCIyMDI2LTAxLTAxIiwiXHVkODAwIl0",
    ],
)
async def test_an_invalid_cursor_is_malformed(idle: Reader, cursor: str) -> None:
    status, error = await idle.get_error("/events", cursor=cursor)
    assert (status, error["code"], list(error["fields"])) == (400, "malformed", ["cursor"])


@pytest.mark.parametrize(
    "parameters",
    [
        {"userId": "ann", "anonymousId": "phone"},
        {"userId": "ann", "property": "plan", "value": "free"},
        {"property": "plan"},
        {"value": "free"},
    ],
)
async def test_parameters_that_exclude_each_other_are_refused(
    idle: Reader, parameters: dict[str, str]
) -> None:
    status, error = await idle.get_error("/profiles", **parameters)
    assert (status, error["code"]) == (422, "invalid")


@pytest.mark.parametrize("below", ["", "/events", "/merges", "/explain"])
async def test_an_unknown_profile_is_not_found(idle: Reader, below: str) -> None:
    status, error = await idle.get_error(f"/profile/pro_none{below}")
    assert (status, error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "parameters",
    [
        {"bucket": "minute", "since": "2026-03-01", "until": "2026-03-02"},
        {"bucket": "month", "since": "0001-01-01"},
    ],
)
async def test_too_many_buckets_are_refused(idle: Reader, parameters: dict[str, Any]) -> None:
    status, error = await idle.get_error("/events/counts", **parameters)
    assert (status, list(error["fields"])) == (422, ["bucket"])


@pytest.mark.parametrize("bucket", ["minute", "hour", "day", "week", "month"])
@pytest.mark.parametrize("end", [{"until": "0001-01-01"}, {"until": "0001-01-05T07:08:09"}])
async def test_counts_in_year_1_are_empty(idle: Reader, bucket: str, end: dict[str, str]) -> None:
    assert (await idle.get_json("/events/counts", bucket=bucket, **end))["types"] == []


@pytest.mark.parametrize("authorization", ["", "Bearer unknown", "Basic !!!", "Digest x"])
async def test_invalid_credentials_are_unauthorized(idle: Reader, authorization: str) -> None:
    response = await idle.request("GET", "/api/v1/events", {"authorization": authorization})
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/event/", 404, "not_found"),
        ("POST", "/api/v1/events", 405, "method_not_allowed"),
        ("PUT", "/api/v1/event/evt_1", 405, "method_not_allowed"),
    ],
)
async def test_unknown_paths_and_methods_are_refused(
    idle: Reader, method: str, path: str, status: int, code: str
) -> None:
    response = await idle.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    if status == 405:
        allowed = "DELETE, GET, HEAD" if "evt_1" in path else "GET, HEAD"
        assert response.headers["allow"] == allowed
