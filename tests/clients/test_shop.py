"""The demo shop in a real browser: its script tag sends every event."""

import asyncio
import json

import pytest

from dev import shop
from dev.stack import StackInfo
from dev.stack.ports import free_port
from tests.clients.sdks import CHROMIUM, DRIVERS
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]

KINDS = ["identify", "item-added-to-cart", "pageview", "pageview", "purchase"]


async def test_a_purchase_and_a_sign_in_are_on_one_profile(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has only the publishable key of its origin; the shop's server reads the profile."""
    gateway = await system.ingest()
    await system.resolver()
    _, api = await system.api()
    monkeypatch.setattr(shop, "PORT", free_port())
    key = await publishable_key(system, f"http://127.0.0.1:{shop.PORT}")
    secret = await system.key("shop", "profiles:read")
    info = StackInfo(
        gateway.url, api.removesuffix("/api/v1"), "http://console", "", "", secret, key, {}
    )
    with shop.serve_shop(info) as url:
        assert url == f"http://127.0.0.1:{shop.PORT}/"
        shown = await run_driver("shop.mjs", url, "42")
    assert '"userId": "42"' in shown
    assert f"http://console/profiles/{await system.database.profile_of('42')}" in shown

    async def kinds() -> list[str]:
        return await system.database.column(
            'SELECT type FROM events JOIN profiles ON profiles.guid = "profileGuid" '
            "WHERE profiles.\"userId\" = '42' ORDER BY type"
        )

    await eventually(kinds, equals(KINDS))
    assert await system.database.count("profiles") == 1
    campaigns = "SELECT value FROM \"eventData\" WHERE key = 'utm_campaign'"
    assert await system.database.column(campaigns) == ["my-ad-campaign"]


async def test_a_key_works_only_on_pages_of_its_origin(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await system.ingest()
    monkeypatch.setattr(shop, "PORT", free_port())
    own = await publishable_key(system, f"HTTP://127.0.0.1:{shop.PORT}/")
    foreign = await publishable_key(system, f"https://127.0.0.1:{shop.PORT}")
    info = StackInfo(gateway.url, "", "", "", "", "", own, {})
    with shop.serve_shop(info) as url:
        statuses = json.loads(await run_driver("origins.mjs", url, gateway.url, own, foreign))
    assert statuses == {
        "fetch": [200, 403],
        "beacon": [200, 403],
        "image": [200, 403],
        "beacon without referrer": [200, 403],
    }
    rejected = "merganser_ingest_events_rejected_total"
    assert await gateway.metric(rejected, reason="origin_not_allowed", key_kind="publishable") == 4


async def publishable_key(system: System, origin: str) -> str:
    """Create a key for the pages of an origin."""
    return (await system.cli("keys", "create", "page", "--publishable", "--origin", origin)).strip()


async def run_driver(name: str, *arguments: str) -> str:
    """Run a run_driver that controls a browser and return its output."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(DRIVERS / name), str(CHROMIUM), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-4000:]
    return output.decode()
