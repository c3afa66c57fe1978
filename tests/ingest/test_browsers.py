"""Browser clients: CORS on every path and every response, gzip."""

import gzip

import pytest

from tests.support.gateway import Gateway

ORIGIN = "https://shop.example"
BODY = b'{"type": "t", "userId": "1"}'


@pytest.mark.parametrize(
    "path", ["/api/v1/track", "//api/v1/track/", "/api/v1/batch", "/any/other"]
)
async def test_a_preflight_request_is_answered(gateway: Gateway, path: str) -> None:
    answer = await gateway.request(
        "OPTIONS",
        path,
        headers={
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,rsa-private",
        },
    )
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = {h.strip() for h in answer.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "content-type", "rsa-private"} <= allowed
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["vary"] == "Origin"


async def test_a_preflight_request_without_headers_lists_the_usual_ones(gateway: Gateway) -> None:
    answer = await gateway.request("OPTIONS", "/api/v1/track", headers={"origin": ORIGIN})
    assert {"authorization", "content-type"} <= {
        header.strip() for header in answer.headers["access-control-allow-headers"].split(",")
    }


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/track", BODY, 200),
        ("/api/v1/track", b"{", 400),
        ("/api/v1/track", b'{"type": "t"}', 422),
        ("/nowhere", BODY, 404),
        ("/api/v1/track", b" " * (2 << 20), 413),
    ],
)
async def test_pages_can_read_responses(
    gateway: Gateway, path: str, body: bytes, status: int
) -> None:
    answer = await gateway.post(path, body, {"origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
    assert answer.headers["vary"] == "Origin"


async def test_pages_can_read_that_a_key_is_unauthorized(gateway: Gateway) -> None:
    answer = await gateway.request("POST", "/api/v1/track", BODY, {"origin": ORIGIN})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_without_an_origin_the_response_has_no_cors_headers(gateway: Gateway) -> None:
    answer = await gateway.post("/api/v1/track", BODY)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"content-encoding": "gzip"}, id="by its header"),
        pytest.param({"content-type": "text/plain"}, id="without a header"),
        pytest.param({"content-encoding": "br"}, id="under a wrong header"),
    ],
)
async def test_gzip_is_detected_by_its_first_bytes(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    answer = await gateway.post("/api/v1/track", gzip.compress(BODY), headers)
    assert answer.status_code == 200, answer.text


async def test_plain_bytes_under_a_gzip_header_are_read(gateway: Gateway) -> None:
    answer = await gateway.post("/api/v1/track", BODY, {"content-encoding": "gzip"})
    assert answer.status_code == 200, answer.text
