"""The rate limit: a token bucket for each API key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.rate_limit import Rate, RateLimiter, take
from merganser.http.authentication import ApiKey
from merganser.http.errors import ErrorKind, HttpError
from tests.support.gateway import Gateway
from tests.support.system import System
from tests.support.waiting import equals, eventually

RATE = Rate(per_second=10, burst=100)
FIRST, OTHER = (ApiKey("", guid, frozenset()) for guid in ("key_1", "key_2"))


def test_a_bucket_allows_a_burst_and_then_the_rate() -> None:
    full_at, wait = take(RATE, 0, now=1000, amount=100)
    assert wait == 0
    full_at, wait = take(RATE, full_at, now=1000, amount=1)
    assert wait == pytest.approx(0.1)
    full_at, wait = take(RATE, full_at, now=1000.1, amount=1)
    assert wait == 0
    _, wait = take(RATE, full_at, now=1000.1, amount=50)
    assert wait == pytest.approx(5)


def test_a_refused_request_takes_nothing_from_the_bucket() -> None:
    full_at, _ = take(RATE, 0, now=1000, amount=100)
    for _ in range(1000):
        full_at, wait = take(RATE, full_at, now=1004, amount=50)
        assert wait == pytest.approx(1)
    _, wait = take(RATE, full_at, now=1005.001, amount=50)
    assert wait == 0


def test_a_request_larger_than_the_burst_passes_a_full_bucket_and_delays_later_ones() -> None:
    full_at, wait = take(RATE, 0, now=1000, amount=1000)
    assert wait == 0
    _, wait = take(RATE, full_at, now=1000, amount=1)
    assert wait == pytest.approx(90.1)
    _, wait = take(RATE, full_at, now=1000, amount=1000)
    assert wait == pytest.approx(100)


@given(
    rate=st.builds(Rate, st.floats(0.1, 10_000), st.integers(1, 10_000)),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 20_000)), max_size=50),
)
def test_the_limit_is_never_exceeded_and_the_wait_is_exact(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    start = now = 1000.0
    full_at, taken, largest = 0.0, 0, 0
    for pause, amount in steps:
        now += pause
        full_at, wait = take(rate, full_at, now, amount)
        if wait:
            assert take(rate, full_at, now + wait + 1e-6, amount)[1] < 1e-6
            assert take(rate, full_at, now + wait / 2, amount)[1] > 0
        else:
            taken, largest = taken + amount, max(largest, amount)
        over = max(0, largest - rate.burst)
        assert taken <= rate.burst + over + rate.per_second * (now - start) + 1e-3


def test_each_key_has_its_own_bucket() -> None:
    now = 5.0
    limiter = RateLimiter(RATE.per_second, RATE.burst, lambda: now)
    limiter.admit(FIRST, 100, ErrorKind.RATE_LIMITED)
    limiter.admit(OTHER, 100, ErrorKind.RATE_LIMITED)
    with pytest.raises(HttpError) as refused:
        limiter.admit(FIRST, 15, ErrorKind.RATE_LIMITED)
    assert (b"retry-after", b"2") in refused.value.headers
    now += 1.5
    limiter.admit(FIRST, 15, ErrorKind.RATE_LIMITED)


def test_without_a_rate_every_request_passes() -> None:
    limiter = RateLimiter(None, 1, lambda: 0.0)
    for _ in range(10):
        limiter.admit(FIRST, 1_000_000, ErrorKind.RATE_LIMITED)


async def test_a_key_over_its_rate_gets_429_with_a_retry_time_and_others_are_served(
    system: System,
) -> None:
    gateway = await system.ingest(ingest_rate=2, ingest_burst=3)
    other = await system.key("other")
    event = {"type": "t", "userId": "1"}
    assert (await gateway.batch([event] * 3)).status_code == 200
    refused = await gateway.batch([event] * 2)
    assert refused.status_code == 429
    assert refused.json()["code"] == refused.json()["error"]["code"] == "rate_limited"
    assert refused.headers["retry-after"] == "1"
    body = json.dumps({"apiKey": other, "events": [event] * 3}).encode()
    assert (await gateway.request("POST", "/api/v1/batch", body)).status_code == 200
    assert (
        await gateway.metric("merganser_ingest_events_rejected_total", reason="rate_limited") == 1
    )
    assert await gateway.metric("merganser_ingest_request_seconds_count", status="429") == 1

    async def send_again() -> int:
        return (await gateway.batch([event] * 2)).status_code

    await eventually(send_again, equals(200))
    assert await system.events.size() == 8


async def test_posthog_clients_get_503_as_they_drop_events_after_429(system: System) -> None:
    gateway = await system.ingest(ingest_rate=0.01, ingest_burst=1)
    assert await send_posthog_event(gateway) == (200, None)
    assert await send_posthog_event(gateway) == (503, "100")


async def send_posthog_event(gateway: Gateway) -> tuple[int, str | None]:
    body = json.dumps({"api_key": gateway.key, "event": "e", "distinct_id": "1"}).encode()
    answer = await gateway.request("POST", "/e/", body)
    return answer.status_code, answer.headers.get("retry-after")
