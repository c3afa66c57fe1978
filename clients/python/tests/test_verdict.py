import json
from datetime import datetime, timezone
from typing import Any

import pytest

from merganser_client.verdict import Again, Answer, Smaller, Taken, Verdict, judge

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def verdict(
    status: int, said: Any = None, count: int = 2, retry_after: str | None = None
) -> Verdict:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return judge(Answer(status, retry_after, body), count, NOW)


GOOD = {"success": True, "event": {"guid": "evt_1"}}
BAD = {"success": False, "code": "invalid", "message": "type: missing"}


def test_200_with_a_result_for_each_event_settles_them() -> None:
    assert verdict(200, {"events": [GOOD, GOOD]}) == Taken({})
    assert verdict(200, {"events": [GOOD, BAD]}) == Taken({1: "type: missing"})


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"<html>",
        b"\xff",
        None,
        [],
        {},
        {"events": [GOOD]},
        {"events": 2},
        {"events": [1, GOOD]},
        {"events": [GOOD, {}]},
        {"success": True},
    ],
)
def test_200_of_something_else_is_no_promise(said: Any) -> None:
    again = verdict(200, said)
    assert isinstance(again, Again)
    assert again.misconfigured


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_refused_is_cut_up(status: int) -> None:
    assert verdict(status, {"code": "c", "message": "no"}) == Smaller(f"answered {status}: no")


def test_whoever_finds_a_batch_too_large_gets_smaller_ones() -> None:
    assert verdict(413, b"<html>") == Smaller("answered 413")


@pytest.mark.parametrize("status", [400, 422])
def test_only_the_gateway_finds_fault_with_events(status: int) -> None:
    assert verdict(status, b"<html>") == Again(f"answered {status}", 0.0, misconfigured=True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_who_is_busy_is_asked_again(status: int) -> None:
    again = verdict(status, {"message": "later"}, retry_after="7")
    assert again == Again(f"answered {status}: later", 7.0, misconfigured=False)


@pytest.mark.parametrize("status", [201, 202, 204, 301, 307, 401, 403, 404, 405])
def test_a_mistake_of_configuration_is_asked_again_and_called_so(status: int) -> None:
    assert verdict(status, b"") == Again(f"answered {status}", 0.0, misconfigured=True)
