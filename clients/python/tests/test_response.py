import json
from datetime import datetime, timezone
from typing import Any

import pytest

from merganser_client.response import (
    Outcome,
    Response,
    Retry,
    Settled,
    Split,
    classify_response,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def outcome(
    status: int, content: Any = None, count: int = 2, retry_after: str | None = None
) -> Outcome:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return classify_response(Response(status, retry_after, body), count, NOW)


ACCEPTED = {"success": True, "event": {"guid": "evt_1"}}
REFUSED = {"success": False, "code": "invalid", "message": "type: missing"}


def test_200_with_a_result_for_each_event_settles_them() -> None:
    assert outcome(200, {"events": [ACCEPTED, ACCEPTED]}) == Settled({})
    assert outcome(200, {"events": [ACCEPTED, REFUSED]}) == Settled({1: "type: missing"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\xff",
        None,
        [],
        {},
        {"events": [ACCEPTED]},
        {"events": 2},
        {"events": [1, ACCEPTED]},
        {"events": [ACCEPTED, {}]},
        {"success": True},
    ],
)
def test_200_from_another_server_settles_nothing(content: Any) -> None:
    retry = outcome(200, content)
    assert isinstance(retry, Retry)
    assert retry.misconfigured


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_split(status: int) -> None:
    assert outcome(status, {"code": "c", "message": "no"}) == Split(f"status {status}: no")


def test_413_from_any_server_splits_the_batch() -> None:
    assert outcome(413, b"<html>") == Split("status 413")


@pytest.mark.parametrize("status", [400, 422])
def test_only_ingest_can_refuse_a_batch_as_invalid(status: int) -> None:
    assert outcome(status, b"<html>") == Retry(f"status {status}", 0.0, misconfigured=True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_busy_server_gets_a_retry(status: int) -> None:
    retry = outcome(status, {"message": "later"}, retry_after="7")
    assert retry == Retry(f"status {status}: later", 7.0, misconfigured=False)


@pytest.mark.parametrize("status", [201, 202, 204, 301, 307, 401, 403, 404, 405])
def test_a_wrong_configuration_gets_a_retry_and_is_named(status: int) -> None:
    assert outcome(status, b"") == Retry(f"status {status}", 0.0, misconfigured=True)
