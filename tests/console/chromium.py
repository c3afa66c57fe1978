"""Runs flows, which use the console as a person does, in a real Chromium."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import System

_FLOWS = Path(__file__).parent / "browser"
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

READER = ("console:read", "events:read", "profiles:read")
WRITER = ("console:write", *READER)

in_chromium = [
    pytest.mark.console,
    pytest.mark.timeout(300),
    pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
"""The marks of a test that runs a flow: `pytestmark = in_chromium`."""


async def run_flow(
    system: System, url: str, flow: str, *values: str, permissions: tuple[str, ...] = READER
) -> dict[str, Any]:
    """Run a flow and return what it saw, which is nothing that no page may do.

    Args:
        system: with the console.
        url: of the console.
        flow: name of the file, without its suffix.
        values: that the flow gets.
        permissions: of the key that the flow logs in with, by a link.
    """
    await system.key(flow, *permissions)
    system.env["MERGANSER_CONSOLE_URL"] = url
    link = (await system.cli("keys", "login", flow)).strip()
    process = await asyncio.create_subprocess_exec(
        *("node", str(_FLOWS / f"{flow}.mjs"), str(_CHROMIUM), url, link, *values),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-4000:]
    seen: dict[str, Any] = json.loads(output)
    assert seen["errors"] == [], seen["errors"]
    assert seen["foreign"] == [], seen["foreign"]
    assert seen["axe"] == [], seen["axe"]
    return seen
