"""Refused requests. `tests/bad_input` has the table of bad bodies."""

import asyncio

import pytest

from tests.support.gateway import Gateway
from tests.support.refusals import assert_refused
from tests.support.system import System

GOOD = b'{"type": "t", "userId": "1"}'
TRACK, BATCH = "/api/v1/track", "/api/v1/batch"


async def test_a_huge_body_is_refused_before_it_is_read(gateway: Gateway) -> None:
    """The response arrives although the client never sends most of the body."""
    head = b"POST /api/v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n"
    status, body = await gateway.raw(head + b"x" * (2 << 20))
    assert status == 413
    assert b'"too_large"' in body


async def test_a_large_body_within_the_limit_is_accepted(gateway: Gateway) -> None:
    big = {"type": "t", "userId": "1", "data": {"a": "x" * 60_000}}
    answer = await gateway.batch([big] * 17)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 17


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/api/v1/tracks", "/v9/batch", "/api/v1/track/1", "/metrics"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_not_found(gateway: Gateway, method: str, path: str) -> None:
    assert_refused(await gateway.request(method, path), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [TRACK, BATCH])
async def test_another_method_is_not_allowed(gateway: Gateway, method: str, path: str) -> None:
    answer = await gateway.request(method, path, GOOD)
    assert_refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


async def test_refusals_are_counted_by_reason(gateway: Gateway) -> None:
    name = "merganser_ingest_events_rejected_total"
    malformed = await gateway.metric(name, reason="malformed")
    invalid = await gateway.metric(name, reason="invalid")
    accepted = await gateway.metric("merganser_ingest_events_accepted_total")
    await gateway.post(TRACK, b"{")
    await gateway.batch([{"type": "t", "userId": "1"}, {}, {"type": "t"}])
    assert await gateway.metric(name, reason="malformed") == malformed + 1
    assert await gateway.metric(name, reason="invalid") == invalid + 2
    assert await gateway.metric("merganser_ingest_events_accepted_total") == accepted + 1


async def test_a_client_that_disconnects_affects_no_other(gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /api/v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await gateway.tracked(type="t", userId="1")
    assert "internal error" not in gateway.log


async def test_a_body_that_does_not_arrive_times_out(system: System) -> None:
    gateway = await system.ingest(ingest_body_timeout=0.3)
    status, _ = await gateway.raw(
        b"POST /api/v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    )
    assert status == 408


async def test_logs_have_no_key_and_no_payload(gateway: Gateway) -> None:
    await gateway.track(type="t", userId="secret-user", data={"secret-name": "secret-value"})
    await gateway.track(type="t", userId=True, data={"secret-name": "secret-value"})
    await gateway.post(TRACK, b"{secret-garbage")
    assert "secret" not in gateway.log
    assert gateway.key not in gateway.log
