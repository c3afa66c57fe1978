"""The demo shop in a real browser: one script tag, and nothing that a visitor did is lost."""

import asyncio

import pytest

from dev import shop
from dev.stack import StackInfo
from tests.clients.sdks import CHROMIUM, DRIVERS
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

KINDS = ["identify", "item-added-to-cart", "pageview", "pageview", "purchase"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
async def test_a_visitor_goes_shopping_and_signs_in(system: System) -> None:
    gateway = await system.ingest()
    await system.resolver()
    _, api = await system.api()
    key = await system.key("shop", "events:write", "profiles:read")
    info = StackInfo(gateway.url, api.removesuffix("/api/v1"), "", "", key, {})
    with shop.serve_shop(info) as url:
        process = await asyncio.create_subprocess_exec(
            *("node", str(DRIVERS / "shop.mjs"), str(CHROMIUM), url, "42"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()[-4000:]
        assert '"userId": "42"' in output.decode()

    async def kinds() -> list[str]:
        return await system.database.column(
            'SELECT type FROM events JOIN profiles ON profiles.guid = "profileGuid" '
            "WHERE profiles.\"userId\" = '42' ORDER BY type"
        )

    await eventually(kinds, equals(KINDS))
    assert await system.database.count("profiles") == 1
    campaigns = "SELECT value FROM \"eventData\" WHERE key = 'utm_campaign'"
    assert await system.database.column(campaigns) == ["my-ad-campaign"]
