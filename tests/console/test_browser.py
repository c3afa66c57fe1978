"""A person uses the console in a real Chromium."""

import asyncio

from tests.console.chromium import READER, in_chromium, run_flow
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = in_chromium

SESSION_SECONDS = 15
"""More than the flow needs from a login to the page that it opens next."""


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

    seen = await run_flow(system, url, "story", "ann")
    assert seen["joints"] == 2
    assert seen["local"] not in seen["utc"], "a time is in the viewer's zone"
    assert seen["stays"] is True, "the filter loaded the whole page"
    assert "type=sign-in" in seen["filtered"]
    assert seen["plain"] == 1


async def test_a_session_of_a_browser(system: System) -> None:
    gateway, _, (_, url) = await asyncio.gather(
        system.ingest(),
        system.resolver(),
        system.console(console_session_timeout=SESSION_SECONDS),
    )
    await gateway.tracked(type="sign-in", anonymousId="laptop", userId="ann")
    await eventually(lambda: system.database.count("events"), equals(1))
    profile = await system.database.profile_of("ann")
    key = await system.key("person", *READER)

    seen = await run_flow(system, url, "access", key, f"/profiles/{profile}")
    assert seen["first"] == "/"
    assert seen["focus"] == "Skip to the content"
    assert "type=sign-in" in seen["back"], "the login leads to the page that was asked for"
    assert seen["forged"] == 403
    assert (seen["last"], seen["loggedOut"]) == ("/login", "/login")


async def test_a_person_watches_events_arrive(system: System) -> None:
    gateway, _, (_, url) = await asyncio.gather(
        system.ingest(), system.resolver(), system.console()
    )
    seen = await run_flow(system, url, "live", gateway.url, gateway.key)
    assert (seen["empty"], seen["emptyLater"]) == (True, False)
    assert seen["status"] == 422
    assert seen["rows"] == 2
    assert seen["stays"] is True, "the page was loaded again"
    assert seen["paused"] == 0
    assert seen["most"] <= 200
    assert seen["profile"] == f"/profiles/{await system.database.profile_of('ann')}"
    assert seen["plain"] == 1
    assert seen["refreshed"] == "?type=buy"
