"""The page of privacy: export, forget, the ledger of erasures, suppressed ids."""

import re
from typing import Any

import pytest
from markupsafe import escape

from console import background
from merganser.admin.export import export_person
from merganser.identity import forget
from merganser.identity.forget import Request
from merganser.runtime import postgres
from merganser.runtime.settings import Settings
from tests.console.test_profiles import store_story
from tests.console.viewer import Viewer, text_of
from tests.support.actions import OPERATOR, read_actions
from tests.support.command import command
from tests.support.database import Database
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

REASON = "request 4711"
HOSTILE = 'eve"><script>alert(1)</script>\u202e'


def order(profile: str, /, **changes: str) -> dict[str, str]:
    """Return the form that erases Ann."""
    fields = {"id": "ann", "profile": profile, "confirmation": "ann", "reason": REASON}
    return {**fields, "suppress": "on", **changes}


async def count_events(viewer: Viewer) -> int:
    return await viewer.database.count("events")


@pytest.mark.parametrize("name", ["ann", "phone", "laptop"])
async def test_an_id_leads_to_the_person_with_counts(viewer: Viewer, name: str) -> None:
    profile, phone = await store_story(viewer)
    for searched in (name, profile, phone):
        text = await viewer.text("/privacy", id=searched)
        assert "user ann" in text
        assert "4 events 2 anonymousIds" in text
        assert "Erase 4 events and 2 anonymousIds for good" in text
        assert "No. Events with" in text


async def test_an_unknown_id(viewer: Viewer) -> None:
    text = await viewer.text("/privacy", id="nobody")
    assert "No profile has the id nobody" in text
    assert "The ledger has no erasure of this id." in text
    assert "Nobody was erased yet." in await viewer.text("/privacy")
    assert (await viewer.get("/privacy", id="a\0b")).status_code == 422


async def test_an_export_equals_that_of_the_command(system: System, system_viewer: Viewer) -> None:
    profile, _ = await store_story(system_viewer)
    response = await system_viewer.get(f"/privacy/export/{profile}")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert response.headers["content-disposition"] == f'attachment; filename="{profile}.jsonl"'
    expected = await command(system.env, "export", "ann")
    lines = sorted(response.text.splitlines())
    assert lines == sorted(expected.out.splitlines())
    assert len(lines) > 5
    actions = await read_actions(system.database)
    assert [(source, *rest) for source, _, *rest in actions if rest[0] == "person exported"] == [
        (source, "person exported", profile, None, {}) for source in ("console", "cli")
    ]


async def test_a_reader_of_an_export_who_goes_away_leaves_no_connection(
    system: System, system_viewer: Viewer
) -> None:
    await store_story(system_viewer)
    settings = Settings.model_validate(
        {
            "kafka_bootstrap": system.env["MERGANSER_KAFKA_BOOTSTRAP"],
            "database_url": system.database.url,
            "dead_topic": system.dead.name,
        }
    )
    lines = export_person(settings, OPERATOR, "ann")
    assert '"kind" : "profile"' in await anext(lines)
    opened = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'merganser export %%'"""
    assert await system.database.value(opened) == 1
    await lines.aclose()
    await eventually(lambda: system.database.value(opened), equals(0))
    actions = await read_actions(system.database)
    assert [action for _, _, action, *_ in actions] == ["person exported"]


@pytest.mark.parametrize("permission", ["events:read", "profiles:read"])
async def test_an_export_needs_both_permissions(stranger: Viewer, permission: str) -> None:
    profile, _ = await store_story(stranger)
    await stranger.log_in("console:write", permission)
    assert (await stranger.get(f"/privacy/export/{profile}")).status_code == 403
    page = await stranger.page("/privacy", id="ann")
    assert "/privacy/export/" not in page
    assert "An export needs a key with the permissions events:read and profiles:read" in text_of(
        page
    )


async def test_a_name_of_a_file_has_only_safe_characters(system_viewer: Viewer) -> None:
    await system_viewer.store.store(event('a"\r\n⟨b'))
    response = await system_viewer.get("/privacy/export/a%22%0D%0A%E2%9F%A8b")
    assert response.status_code == 200
    assert response.headers["content-disposition"] == 'attachment; filename="a____b.jsonl"'
    assert (await system_viewer.get("/privacy/export/a%00b")).status_code == 404


async def test_an_export_of_nobody_is_an_error_page(viewer: Viewer) -> None:
    response = await viewer.get("/privacy/export/pro_none")
    assert response.status_code == 409
    assert "No profile has this userId or guid" in text_of(response.text)


async def test_a_person_is_erased(system_viewer: Viewer) -> None:
    profile, _ = await store_story(system_viewer)
    response = await system_viewer.post("/privacy/forget", order(profile))
    assert (response.status_code, response.headers["location"]) == (303, "/privacy?erased=4")
    assert await count_events(system_viewer) == 0

    text = await system_viewer.text("/privacy", erased="4")
    assert "The person is erased, with 4 events." in text
    assert REASON in text
    assert "under way" not in text
    assert "unknown" not in text, "Kafka says how long the topics keep records"
    ((guid, by),) = await system_viewer.database.rows(
        'SELECT guid, "requestedBy" FROM "erasureLedger"'
    )
    (action,) = await read_actions(system_viewer.database)
    assert action[:5] == ("console", by, "person forgotten", guid, REASON)
    assert action[5]["events"] == 4
    assert by.startswith("test (key_")

    for name in ("ann", "phone"):
        text = await system_viewer.text("/privacy", id=name)
        assert f"No profile has the id {name}" in text
        assert "Yes , as " in text
        assert REASON in text, "the ledger finds the erasure by the id"


async def test_without_suppression_the_ids_can_be_used_again(system_viewer: Viewer) -> None:
    profile, _ = await store_story(system_viewer)
    fields = order(profile)
    del fields["suppress"]
    await system_viewer.post("/privacy/forget", fields)
    assert "No. Events with ann are stored." in await system_viewer.text("/privacy", id="ann")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confirmation": ""}, "type the id exactly as it is shown"),
        ({"confirmation": "Ann"}, "type the id exactly as it is shown"),
        ({"confirmation": "phone", "id": "phone"}, "type the id exactly as it is shown"),
        ({"reason": " "}, "say why, in at most 1,000 characters"),
        ({"reason": "x" * 1001}, "say why, in at most 1,000 characters"),
        ({"reason": "Ann asked for it"}, "the reason contains an id of the person"),
        ({"reason": "the owner of 'laptop'"}, "the reason contains an id of the person"),
        ({"profile": "pro_other"}, "this id does not lead to that profile any more"),
        ({"id": "bob"}, "this id does not lead to that profile any more"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_nothing_is_erased_by_a_form_that_is_not_right(
    viewer: Viewer, change: dict[str, str], message: str
) -> None:
    profile, _ = await store_story(viewer)
    await viewer.store.store(event("bob"))
    response = await viewer.post("/privacy/forget", order(profile, **change))
    assert response.status_code == 422
    assert f"Nothing is erased: {message}" in text_of(response.text)
    if change.keys() <= {"reason", "confirmation"}:
        kept = change.get("reason", REASON)
        assert f'name="reason" value="{escape(kept)}"' in response.text
    assert await count_events(viewer) == 5
    assert await viewer.database.count("suppressedIds") == 0
    assert await viewer.database.count("erasureLedger") == 0
    assert await read_actions(viewer.database) == []


async def test_a_form_without_fields_erases_nothing(viewer: Viewer) -> None:
    await store_story(viewer)
    assert (await viewer.post("/privacy/forget", {})).status_code == 422
    assert (await viewer.post("/privacy/forget", {"id": "a\0"})).status_code == 400
    assert await count_events(viewer) == 4


async def test_readers_cannot_erase(stranger: Viewer) -> None:
    profile, _ = await store_story(stranger)
    await stranger.log_in("console:read", "events:read", "profiles:read")
    page = await stranger.page("/privacy", id="ann")
    assert "/privacy/forget" not in page
    assert "Erasing a person needs a key with the permission console:write" in text_of(page)
    response = await stranger.post("/privacy/forget", order(profile))
    assert response.status_code == 403
    assert await count_events(stranger) == 4


async def test_a_visitor_is_erased_by_the_anonymous_id(system_viewer: Viewer) -> None:
    visit = event(None, HOSTILE)
    await system_viewer.store.store(visit)
    profile = await system_viewer.store.profile_of(visit)
    page = await system_viewer.page("/privacy", id=HOSTILE)
    assert "<script>alert" not in page
    assert "⟨U+202E⟩" in page
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩")  # what a person can type
    fields = order(profile, id=HOSTILE, confirmation=shown)
    response = await system_viewer.post("/privacy/forget", fields)
    assert response.headers["location"] == "/privacy?erased=1"


async def test_an_erasure_that_was_interrupted_is_continued(system_viewer: Viewer) -> None:
    profile, _ = await store_story(system_viewer)
    async with (
        await postgres.connect(system_viewer.database.url, "test") as connection,
        connection.transaction(),
    ):
        await forget.suppress_ids(connection, profile, Request("ann", "me", "first", "all"), 100)
    text = await system_viewer.text("/privacy")
    assert "under way" in text
    text = await system_viewer.text("/privacy", id="ann")
    assert "The erasure of this person has begun and has not finished." in text
    assert "Continue to erase 4 events" in text
    fields = {"id": "ann", "profile": profile, "confirmation": "ann"}
    response = await system_viewer.post("/privacy/forget", fields)
    assert response.headers["location"] == "/privacy?erased=4"
    reasons = await system_viewer.database.column('SELECT reason FROM "erasureLedger"')
    assert reasons == ["first"]


async def test_a_long_erasure_goes_on_after_the_response(
    system_viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "WAIT_SECONDS", 0)
    profile, _ = await store_story(system_viewer)
    response = await system_viewer.post("/privacy/forget", order(profile))
    assert response.headers["location"] == "/privacy?begun"
    text = await system_viewer.text("/privacy", begun="")
    assert "The erasure has begun and goes on" in text
    finished = 'SELECT count(*) FROM "erasureLedger" WHERE "finishedAt" IS NOT NULL'
    await eventually(lambda: system_viewer.database.value(finished), equals(1))
    assert await count_events(system_viewer) == 0


async def test_the_ledger_has_pages(viewer: Viewer) -> None:
    await insert_erasures(viewer.database, 51)
    page = await viewer.page("/privacy")
    assert page.count("<tr><td>") + page.count("<tr>\n    <td>") == 50
    assert "reason 51" in page
    assert not re.search(r"reason 1\b", page)
    (older,) = re.findall(r'href="(/privacy\?before=[^"]*)"', page)
    page = await viewer.page(older)
    assert re.search(r"reason 1\b", page)
    assert "Older erasures" not in page


async def insert_erasures(database: Database, count: int) -> Any:
    await database.execute(
        """INSERT INTO "erasureLedger"
            ("profileGuid", "requestedBy", reason, suppresses, "startedAt", "finishedAt")
        SELECT 'pro_' || n, 'me', 'reason ' || n, 'all', now() + n * interval '1 s', now()
        FROM generate_series(1, %s) AS n""",
        count,
    )
