"""A person answers requests of people, and looks after the system, in a real Chromium."""

import asyncio

from tests.console.chromium import WRITER, in_chromium, run_flow
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = in_chromium


async def test_a_person_is_forgotten_after_the_confirmation(system: System) -> None:
    gateway, _, (_, url) = await asyncio.gather(
        system.ingest(), system.resolver(), system.console()
    )
    for user in ("ann", "bob", "cid"):
        await gateway.tracked(type="sign-in", anonymousId=f"laptop-of-{user}", userId=user)
    await eventually(lambda: system.database.count("events"), equals(3))

    seen = await run_flow(system, url, "privacy", "ann", "bob", "cid", permissions=WRITER)
    assert seen["file"].endswith(".jsonl")
    assert seen["failure"] is None
    assert seen["problem"] == "Nothing is erased: type the id exactly as it is shown."
    assert seen["reason"] == "request 4711"
    assert seen["notice"] == seen["plain"] == "The person is erased, with 1 event."
    assert "request 4711" in seen["ledger"]
    assert seen["audited"] == "/operations/audits"
    assert await system.database.column('SELECT "userId" FROM events') == ["cid"]
