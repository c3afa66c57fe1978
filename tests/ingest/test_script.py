"""The script for pages, as the gateway serves it."""

import gzip

import pytest

from ingest.dialects import Response, StaticResponse
from ingest.request import Request
from ingest.script import ROUTES
from tests.support.gateway import Gateway

MOST_BYTES = 5_000
"""Over the network, packed."""


def test_its_path() -> None:
    assert set(ROUTES) == {"GET /merganser.js"}


def test_it_is_small() -> None:
    assert len(gzip.compress(_content())) < MOST_BYTES


def test_it_is_the_client() -> None:
    content = _content()
    assert b"/api/v1/batch" in content
    assert b"currentScript" in content


async def test_a_page_of_any_site_gets_it_without_a_key(gateway: Gateway) -> None:
    answer = await gateway.request("GET", "/merganser.js", headers={"origin": "https://a.example"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "max-age" in answer.headers["cache-control"]
    assert answer.content == _content()


@pytest.mark.parametrize(("takes", "encoding"), [("gzip, br", "gzip"), ("identity", None)])
async def test_it_is_packed_for_who_takes_it_so(
    gateway: Gateway, takes: str, encoding: str | None
) -> None:
    answer = await gateway.request("GET", "/merganser.js", headers={"accept-encoding": takes})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"].count("accept-encoding") == 1
    assert answer.content == _content()


def _content() -> bytes:
    parsed = ROUTES["GET /merganser.js"](Request())
    assert isinstance(parsed, StaticResponse)
    assert isinstance(parsed.response, Response)
    return parsed.response.content
