"""The JavaScript client that the gateway serves to pages."""

import gzip

import pytest

from ingest.dialects import Response, StaticResponse
from ingest.request import Request
from ingest.script import ROUTES
from tests.support.gateway import Gateway

MAX_BYTES = 5_000
"""Of the compressed script."""


def test_the_route_of_the_script() -> None:
    assert set(ROUTES) == {"GET /merganser.js"}


def test_the_script_is_small() -> None:
    assert len(gzip.compress(read_script())) < MAX_BYTES


def test_the_script_is_the_client() -> None:
    content = read_script()
    assert b"/api/v1/batch" in content
    assert b"currentScript" in content


async def test_a_page_of_any_site_gets_the_script_without_a_key(gateway: Gateway) -> None:
    answer = await gateway.request("GET", "/merganser.js", headers={"origin": "https://a.example"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "max-age" in answer.headers["cache-control"]
    assert answer.content == read_script()


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, br", "gzip"), ("identity", None)])
async def test_the_script_is_compressed_for_clients_that_accept_gzip(
    gateway: Gateway, accepted: str, encoding: str | None
) -> None:
    answer = await gateway.request("GET", "/merganser.js", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"].count("accept-encoding") == 1
    assert answer.content == read_script()


def read_script() -> bytes:
    parsed = ROUTES["GET /merganser.js"](Request())
    assert isinstance(parsed, StaticResponse)
    assert isinstance(parsed.response, Response)
    return parsed.response.content
