"""A person uses the console in a real Chromium."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import System
from tests.support.waiting import equals, eventually

DRIVER = Path(__file__).parent / "browser" / "flow.mjs"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [pytest.mark.console, pytest.mark.timeout(300)]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
async def test_a_person_follows_an_event_to_its_profile(system: System) -> None:
    gateway, _, _, (_, url) = await asyncio.gather(
        system.ingest(), system.resolver(), system.properties(), system.console()
    )
    visits = [{"anonymousId": "laptop"}, {"anonymousId": "laptop", "userId": "ann"}]
    visits += [{"anonymousId": "phone"}, {"anonymousId": "phone", "userId": "ann"}]
    for number, ids in enumerate(visits):
        kind = ("pageview", "sign-up", "app-open", "sign-in")[number]
        await gateway.tracked(type=kind, data={"path": "/<b>"}, **ids)
        await eventually(lambda: system.database.count("events"), equals(number + 1))
    await system.key("viewer", "console:read", "events:read", "profiles:read")
    system.env["MERGANSER_CONSOLE_URL"] = url
    link = (await system.cli("keys", "login", "viewer")).strip()

    seen = await run_flow(url, link, "ann")
    assert seen["errors"] == []
    assert seen["foreign"] == []
    assert seen["axe"] == []
    assert (seen["first"], seen["last"], seen["loggedOut"]) == ("/", "/login", "/login")
    assert seen["focus"] == "Skip to the content"
    assert seen["joints"] == 2
    assert seen["local"] not in seen["utc"], "a time is in the viewer's zone"
    assert seen["stays"] is True, "the filter loaded the whole page"
    assert "type=sign-in" in seen["filtered"]
    assert seen["plain"] == 1
    assert seen["forged"] == 403


async def run_flow(url: str, link: str, user: str) -> dict[str, Any]:
    """Run the driver and return what it saw."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(DRIVER), str(CHROMIUM), url, link, user),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-4000:]
    seen: dict[str, Any] = json.loads(output)
    return seen
