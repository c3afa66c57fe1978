"""The page at /docs in a real browser obeys its Content-Security-Policy."""

import asyncio
import json

import httpx
import pytest

from tests.clients.sdks import CHROMIUM, DRIVERS
from tests.support.system import System

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("process", ["ingest", "api"])
async def test_the_page_lists_every_operation_and_sends_requests(
    system: System, process: str
) -> None:
    if process == "ingest":
        url = (await system.ingest()).url
    else:
        _, api = await system.api()
        url = api.removesuffix("/api/v1")
    key = await system.key("docs", "events:write", "events:read")
    browser = await asyncio.create_subprocess_exec(
        *("node", str(DRIVERS / "docs_page.mjs"), str(CHROMIUM), url, key),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await browser.communicate()
    assert browser.returncode == 0, output.decode()[-4000:]
    seen = json.loads(output)

    async with httpx.AsyncClient() as client:
        paths = (await client.get(f"{url}/openapi.json")).json()["paths"]
    assert sorted(seen["operations"]) == sorted(
        f"{method.upper()} {path}" for path, methods in paths.items() for method in methods
    )
    assert seen["errors"] == []
    assert [item for item in seen["requests"] if not item.startswith((url, "data:"))] == []
    assert seen["status"] == "200"
