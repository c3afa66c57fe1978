"""A person uses the console in a real Chromium."""

import asyncio

from tests.console.chromium import READER, WRITER, in_chromium, run_flow
from tests.console.test_dead_letters import broken
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


async def test_a_person_previews_and_applies_rules(system: System) -> None:
    gateway, _, _, (_, url) = await asyncio.gather(
        system.ingest(), system.resolver(), system.properties(), system.console()
    )
    for number in range(3):
        await gateway.tracked(type="pageview", anonymousId="laptop", userId="ann")
        await eventually(lambda: system.database.count("events"), equals(number + 1))
    rules = (
        "rules:\n  - {key: userId, type: string, unique: true, identifying: true}\n"
        "  - {key: visits, type: integer, events: {type: pageview, aggregation: count}}\n"
    )
    seen = await run_flow(system, url, "rules", "ann", rules, permissions=WRITER)
    assert seen["mistake"].startswith("Line 3 rules.type: input should be 'string', 'integer'")
    assert "Applying it would add 2 rules" in seen["valid"]
    assert seen["stays"] is True, "the check loaded the whole page"
    assert "visits\tadded\tno value\t3" in seen["profile"]
    assert seen["sample"] == "The only profile, before and after"
    assert seen["button"] == "Apply these rules: add 2"
    assert seen["applied"] == "?done=applied"
    assert seen["rules"] == ["userId", "visits"]
    assert "Applying it would remove 2 rules" in seen["plain"]
    profile = await system.database.profile_of("ann")
    await eventually(
        lambda: system.database.column(
            'SELECT value FROM "profileProperties" WHERE "profileGuid" = %s ORDER BY key', profile
        ),
        equals(["ann", "3"]),
    )


async def test_a_wrong_merge_is_undone_and_that_is_reversed(system: System) -> None:
    gateway, _, (_, url) = await asyncio.gather(
        system.ingest(), system.resolver(), system.console()
    )
    for number, ids in enumerate(({"anonymousId": "phone"}, {"userId": "ann"})):
        await gateway.tracked(type="pageview", **ids)
        await eventually(lambda: system.database.count("events"), equals(number + 1))
    await gateway.tracked(type="sign-in", anonymousId="phone", userId="ann")
    await eventually(lambda: system.database.count("profileMerges"), equals(1))
    profile = await system.database.profile_of("ann")

    seen = await run_flow(system, url, "unlink", f"/profiles/{profile}", permissions=WRITER)
    assert seen["before"] == 1
    assert f"1 event of phone goes from {profile} to a new anonymous profile" in seen["preview"]
    assert "unlinked" in seen["after"]
    assert "Unlink…" in seen["undone"]
    assert "the tablet was right" in seen["undone"]
    assert await system.database.count("ignoredLinks") == 0


async def test_a_dead_letter_is_edited_and_resent(system: System) -> None:
    _, (_, url) = await asyncio.gather(system.resolver(), system.console())
    await system.events.publish(broken(), broken("bob"))
    await eventually(system.dead.size, equals(2))
    await system.database.execute(
        """INSERT INTO "setAside" (kind, subject, reason) VALUES ('row', 'evt_1', 'a reason')"""
    )

    seen = await run_flow(system, url, "letters", "purchase", permissions=WRITER)
    assert seen["buttons"] == ["Retry all 2", "Drop all 2"]
    assert (seen["state"], seen["resent"]) == ("open", "retried")
    assert seen["problems"] == ["typ is not a field of an event: move it into data, or remove it"]
    assert seen["kept"] is True
    assert "dead letter edited and resent" in seen["actions"]
    await eventually(lambda: system.database.count("events"), equals(1))
    ((guid, kind),) = await system.database.rows("SELECT guid, type FROM events")
    assert kind == "purchase"
    assert seen["event"] == f"{url}/events/{guid}"


async def test_a_person_creates_and_revokes_a_key(system: System) -> None:
    gateway, (_, url) = await asyncio.gather(system.ingest(), system.console())
    seen = await run_flow(
        *(system, url, "keys", f"{gateway.url}/api/v1/track"),
        permissions=(*WRITER, "events:write"),
    )
    assert seen["fields"] == [True, False]
    assert "https://shop.example" in seen["problem"]
    assert seen["kept"] == ["shop", "shop.example"]
    assert (seen["key"], seen["copied"], seen["command"]) == ("mk_pub_", True, True)
    assert seen["sent"] == [200, 403]
    assert seen["again"] is False, "the key is shown again"
    assert "1 accepted, 1 refused" in seen["counts"]
    assert "accepted 1 events with it and refused 1" in seen["preview"]
    assert "shop is revoked" in seen["notice"]
    assert "shop" in seen["below"]
