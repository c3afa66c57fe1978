"""Whole bodies, and requests with unusual heads."""

import asyncio
import json
from typing import Any

import pytest

from schemas.event import decode
from tests.bad_input.bodies import BODIES, GOOD, TRACK, Body
from tests.support.gateway import Gateway
from tests.support.refusals import assert_refused
from tests.support.system import System


@pytest.mark.parametrize("body", [body for body in BODIES if body.code], ids=str)
async def test_a_bad_body_is_refused(gateway: Gateway, body: Body) -> None:
    answer = await gateway.post(body.path, body.raw, body.headers)
    assert body.code is not None
    assert_refused(answer, body.status, body.code)


async def test_an_unusual_body_is_accepted_and_published(shared: System, gateway: Gateway) -> None:
    guids: dict[str, str] = {}
    for body in BODIES:
        if body.code is None:
            answer = await gateway.post(body.path, body.raw, body.headers)
            assert answer.status_code == 200, f"{body}: {answer.text}"
            content = answer.json()
            results = content.get("events", [content])
            assert all(result["success"] for result in results), body
            guids |= {result["event"]["guid"]: str(body) for result in results}
    assert len(guids) > 1000
    found = {
        event["guid"]: event["data"]
        for record in await shared.events.records()
        if (event := decode(record.value or b""))["guid"] in guids
    }
    for guid, name in guids.items():
        assert found[guid] == {"k": "é"}, name


MAX_RECORD_BYTES = 65_536
"""Maximum size of an event as a record."""


def _head(*lines: str, method: str = "POST", target: str = TRACK) -> bytes:
    request = f"{method} {target} HTTP/1.1"
    return "\r\n".join((request, "host: x", *lines, "", "")).encode("latin-1")


LENGTH = f"content-length: {len(GOOD)}"
CLOSE = "connection: close"
CHUNKED = b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\n\r\n"

REQUESTS = {
    "two lengths": (_head(LENGTH, "content-length: 1", CLOSE) + GOOD, [400]),
    "the same length twice": (_head(LENGTH, LENGTH, CLOSE) + GOOD, [400]),
    "a length and chunks": (_head(LENGTH, "transfer-encoding: chunked", CLOSE) + CHUNKED, [400]),
    "a negative length": (_head("content-length: -1", CLOSE) + GOOD, [400]),
    "a length that is not a number": (_head("content-length: x", CLOSE) + GOOD, [400]),
    "a bad chunk": (_head("transfer-encoding: chunked", CLOSE) + b"x\r\n", [400]),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00", [400]),
    "a header without a colon": (_head("nonsense", CLOSE), [400]),
    "NUL in a header": (_head("x-odd: a\0b", CLOSE), [400]),
    "no body": (_head(CLOSE), [400]),
    "chunks": (_head("transfer-encoding: chunked", CLOSE) + CHUNKED, [200]),
    "Expect": (_head("expect: 100-continue", LENGTH, CLOSE) + GOOD, [100, 200]),
    "two requests": (_head(LENGTH) + GOOD + _head(LENGTH, CLOSE) + GOOD, [200, 200]),
    "a bad request before a good one": (
        _head("content-length: 1") + b"{" + _head(LENGTH, CLOSE) + GOOD, [400, 200]
    ),
    "a path that is not ASCII": (_head(CLOSE, target="/\xff\xfe"), [400]),
    "a path with NUL": (_head(CLOSE, target=f"{TRACK}%00"), [404]),
    "a path with a lone surrogate": (_head(CLOSE, target="/%ED%A0%80"), [404]),
    "a path with a bad escape": (_head(CLOSE, target="/%zz"), [404]),
    "a query that is not UTF-8": (
        _head(LENGTH, CLOSE, target=f"{TRACK}?%FF=%ED%A0%80") + GOOD, [200]
    ),
    "an odd origin": (_head(LENGTH, "origin: \xff\xfe", CLOSE) + GOOD, [200]),
    "an odd address": (_head(LENGTH, "x-forwarded-for: \xff,,'", CLOSE) + GOOD, [200]),
    "an odd key": (_head("authorization: Bearer \xff", LENGTH, CLOSE) + GOOD, [401]),
    "an odd Basic key": (_head("authorization: Basic \xff", LENGTH, CLOSE) + GOOD, [401]),
    "HEAD": (_head(CLOSE, method="HEAD"), [405]),
    "CONNECT": (_head(CLOSE, method="CONNECT", target="x:1"), [400]),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "statuses"), REQUESTS.values(), ids=list(REQUESTS))
async def test_an_unusual_request_is_answered(
    gateway: Gateway, request_: bytes, statuses: list[int]
) -> None:
    """Also if the HTTP server itself refuses it; the next request succeeds."""
    if b"authorization" not in request_:
        key = b"authorization: Bearer %s\r\nhost: x\r\n" % gateway.key.encode()
        request_ = request_.replace(b"host: x\r\n", key)
    assert await _statuses(gateway, request_) == statuses
    await gateway.tracked(type="t", userId="1")
    assert "internal error" not in gateway.log
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("json_key", [b'"\\ud800"', b'"\\u0000"', b"7", b"{}", b'"\xff"'])
async def test_an_invalid_key_in_the_body_is_unauthorized(
    gateway: Gateway, json_key: bytes
) -> None:
    body = b'{"apiKey":%s,"type":"t","userId":"1"}' % json_key
    assert_refused(await gateway.request("POST", TRACK, body), 401, "unauthorized")


async def _statuses(gateway: Gateway, request: bytes) -> list[int]:
    """Send bytes on a new connection; return the status of all responses until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            received = await reader.read(-1)
    finally:
        writer.close()
    lines = received.split(b"HTTP/1.1 ")[1:]
    return [int(line[:3]) for line in lines]


async def test_an_item_of_a_batch_that_is_not_an_event_is_refused_alone(gateway: Gateway) -> None:

    good = json.loads(GOOD)
    odd: list[Any] = [None, True, 0, "text", [], [good], {}]
    answer = await gateway.batch([good, *odd, good])
    results = answer.json()["events"]
    assert [result["success"] for result in results] == [True, *[False] * len(odd), True]
    assert all(result["error"]["fields"] for result in results[1:-1])


async def test_an_event_can_take_up_to_64_kib_as_a_record(shared: System, gateway: Gateway) -> None:
    async def record(text: str) -> bytes:
        guid = await gateway.tracked(type="t", userId="1", data={"a": text})
        values = (record.value or b"" for record in await shared.events.records(last=1))
        (value,) = (value for value in values if decode(value)["guid"] == guid)
        return value

    room = MAX_RECORD_BYTES - len(await record(""))
    assert len(await record("x" * room)) == MAX_RECORD_BYTES
    answer = await gateway.track(type="t", userId="1", data={"a": "x" * (room + 1)})
    assert_refused(answer, 413, "too_large")
    assert f"takes {MAX_RECORD_BYTES + 1} bytes" in answer.json()["message"]
