"""Every bad request gets a clear 4xx in the shape that real clients read (design §6, §7)."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.refusals import assert_refused
from tests.support.system import System

GOOD = b'{"type": "t", "userId": "1"}'
TRACK, BATCH = "/api/v1/track", "/api/v1/batch"


def event_with(**data: Any) -> bytes:
    return json.dumps({"type": "t", "userId": "1", "data": data}).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="truncated"),
        pytest.param(GOOD[:-1], id="truncated at the end"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b'{"type": "t", "userId": "\xff"}', id="invalid UTF-8"),
        pytest.param(GOOD.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":' * 1000 + b"1" + b"}" * 1000, id="1,000 deep"),
        pytest.param(b"[" * 500_000 + b"]" * 500_000, id="500,000 deep"),
        pytest.param(b"type=t&userId=1", id="form"),
        pytest.param(gzip.compress(GOOD)[:-1], id="truncated gzip"),
        pytest.param(gzip.compress(GOOD) + b"x", id="gzip and more"),
    ],
)
async def test_malformed(gateway: Gateway, body: bytes) -> None:
    assert_refused(await gateway.post(TRACK, body), 400, "malformed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b'{"userId": "1"}', "type", id="no type"),
        pytest.param(b'{"type": "t"}', "userId", id="no id"),
        pytest.param(b'{"type": "t", "userId": "undefined"}', "userId", id="nobody"),
        pytest.param(b'{"type": "t", "userId": true}', "userId", id="boolean id"),
        pytest.param(b'{"type": "t", "userId": "%s"}' % (b"x" * 10_000), "userId", id="10 kB id"),
        pytest.param(b'{"type": "t", "userId": "a\\u0000"}', "userId", id="NUL"),
        pytest.param(b'{"type": "t", "userId": "a\\ud800"}', "userId", id="lone surrogate"),
        pytest.param(event_with(**{"a\x00": "b"}), "data, in a key", id="NUL in a key"),
        pytest.param(event_with(a="\x00"), "data.a", id="NUL in data"),
        pytest.param(event_with(a="\ud800"), "data.a", id="lone surrogate in data"),
        pytest.param(b'{"type": "t", "userId": 1, "data": {"a": NaN}}', "data.a", id="NaN"),
        pytest.param(event_with(**{str(n): n for n in range(10_000)}), "data", id="10,000 keys"),
        pytest.param(
            b'{"type":"t","userId":1,"occurredAt":"10000-01-01"}', "occurredAt", id="time"
        ),
        pytest.param(b'{"type":"t","userId":1,"ocurredAt":"0000-01-01"}', "ocurredAt", id="year 0"),
    ],
)
async def test_invalid_says_which_field_and_why(gateway: Gateway, body: bytes, field: str) -> None:
    fields = assert_refused(await gateway.post(TRACK, body), 422, "invalid")
    assert field in fields
    assert fields[field]


async def test_nesting_beyond_the_limit_is_invalid(gateway: Gateway) -> None:
    body = b'{"type": "t", "userId": "1", "data": {"a": %s}}' % (b"[" * 40 + b"]" * 40)
    assert_refused(await gateway.post(TRACK, body), 422, "invalid")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(TRACK, event_with(a="x" * (1 << 20)), id="body over 1 MiB"),
        pytest.param(TRACK, gzip.compress(event_with(a="x" * (1 << 20))), id="unpacked over 1 MiB"),
        pytest.param(TRACK, gzip.compress(b" " * 50_000_000), id="gzip bomb"),
        pytest.param(TRACK, event_with(a="x" * (64 << 10)), id="event over 64 KiB"),
        pytest.param(BATCH, b'{"events": [%s0]}' % (b"0," * 1000), id="1,001 events"),
        pytest.param(BATCH, b'{"events": [%s0]}' % (b"0," * 400_000), id="400,001 events"),
    ],
)
async def test_too_large(gateway: Gateway, path: str, body: bytes) -> None:
    assert_refused(await gateway.post(path, body), 413, "too_large")


async def test_a_gigantic_body_is_refused_before_it_was_sent(gateway: Gateway) -> None:
    """The answer comes although most of the body never does."""
    head = b"POST /api/v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n"
    status, body = await gateway.raw(head + b"x" * (2 << 20))
    assert status == 413
    assert b'"too_large"' in body


async def test_a_large_body_within_the_limit_is_taken(gateway: Gateway) -> None:
    big = {"type": "t", "userId": "1", "data": {"a": "x" * 60_000}}
    answer = await gateway.batch([big] * 17)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 17


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/api/v1/tracks", "/v9/batch", "/api/v1/track/1", "/metrics"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_paths(gateway: Gateway, method: str, path: str) -> None:
    assert_refused(await gateway.request(method, path), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [TRACK, BATCH])
async def test_other_methods(gateway: Gateway, method: str, path: str) -> None:
    answer = await gateway.request(method, path, GOOD)
    assert_refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("body", [b"{}", b'{"events": null}', b'{"events": {}}'])
async def test_a_batch_without_a_list(gateway: Gateway, body: bytes) -> None:
    assert "events" in assert_refused(await gateway.post(BATCH, body), 422, "invalid")


async def test_refusals_are_counted_by_their_reason(gateway: Gateway) -> None:
    name = "merganser_ingest_events_rejected_total"
    malformed = await gateway.metric(name, reason="malformed")
    invalid = await gateway.metric(name, reason="invalid")
    accepted = await gateway.metric("merganser_ingest_events_accepted_total")
    await gateway.post(TRACK, b"{")
    await gateway.batch([{"type": "t", "userId": "1"}, {}, {"type": "t"}])
    assert await gateway.metric(name, reason="malformed") == malformed + 1
    assert await gateway.metric(name, reason="invalid") == invalid + 2
    assert await gateway.metric("merganser_ingest_events_accepted_total") == accepted + 1


async def test_a_client_that_hangs_up_harms_nobody(gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /api/v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await gateway.tracked(type="t", userId="1")
    assert "defect" not in gateway.log


async def test_a_client_that_never_ends_its_body_is_told_so(system: System) -> None:
    impatient = await system.ingest(ingest_body_timeout=0.3)
    status, _ = await impatient.raw(
        b"POST /api/v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    )
    assert status == 408


async def test_logs_hold_no_key_and_no_payload(gateway: Gateway) -> None:
    await gateway.track(type="t", userId="secret-user", data={"secret-name": "secret-value"})
    await gateway.track(type="t", userId=True, data={"secret-name": "secret-value"})
    await gateway.post(TRACK, b"{secret-garbage")
    assert "secret" not in gateway.log
    assert gateway.key not in gateway.log
