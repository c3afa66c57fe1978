"""The page of the log of actions."""

import pytest

from merganser.admin.actions import Actor, record_action
from merganser.http.authentication import Permission
from tests.console.test_hostile import MARKUP, TEXTS, VISIBLE
from tests.console.viewer import Viewer, text_of
from tests.support.actions import OPERATOR
from tests.support.database import Database

ANN = Actor("console", "ann (key_1)")


async def unlink(database: Database) -> None:
    """Store what `unlink` stores of an event."""
    guid = await database.value(
        """INSERT INTO "linkChanges" ("eventGuid", action, reason, actor)
        VALUES ('evt_wrong', 'unlinked', 'a tablet of the shop', 'me') RETURNING guid"""
    )
    await record_action(database.connection, OPERATOR, "event unlinked", subject=str(guid))


async def test_without_actions_the_page_says_what_appears(viewer: Viewer) -> None:
    assert "No operator has changed anything yet" in await viewer.text("/actions")


async def test_the_page_says_who_did_what_when_why_and_how_much(viewer: Viewer) -> None:
    counts = {"events": 1200, "profiles": 0}
    await record_action(
        viewer.database.connection, ANN, "keys turned", subject="s", reason="why", counts=counts
    )
    await record_action(viewer.database.connection, OPERATOR, "id readmitted")
    text = await viewer.text("/actions")
    assert "keys turned s why events 1,200 ann (key_1) console" in text
    assert "id readmitted — — — an operator command" in text
    assert text.index("id readmitted") < text.index("keys turned")


async def test_filters_and_pages_have_their_own_url(viewer: Viewer) -> None:
    for number in range(60):
        actor = ANN if number % 2 else OPERATOR
        await record_action(viewer.database.connection, actor, f"action {number}")
    page = await viewer.page("/actions", actor=ANN.name)
    assert "action 59" in page
    assert "action 58" not in page
    assert "Older actions" not in page
    first = await viewer.get("/actions")
    assert "Older actions" in first.text
    cursor = first.text.split("cursor=")[1].split('"')[0]
    second = text_of((await viewer.client.get(f"/actions?cursor={cursor}")).text)
    assert "action 9 " in second
    assert "action 10 " not in second
    assert "Newest" in second
    assert "No action matches" in await viewer.text("/actions", action="nothing")
    assert (await viewer.get("/actions", cursor="x")).status_code == 400
    assert (await viewer.get("/actions", actor="\0")).status_code == 422


async def test_an_unlink_has_its_event_and_reason_until_the_person_is_erased(
    viewer: Viewer,
) -> None:
    await unlink(viewer.database)
    page = await viewer.page("/actions")
    assert '"/events/evt_wrong"' in page
    assert "a tablet of the shop" in page
    await viewer.database.execute('DELETE FROM "linkChanges"')
    page = await viewer.page("/actions")
    assert "evt_wrong" not in page
    assert "event unlinked lch_" in text_of(page)


async def test_a_reader_sees_the_log(stranger: Viewer) -> None:
    await record_action(stranger.database.connection, ANN, "keys turned")
    await stranger.log_in(Permission.READ_CONSOLE)
    assert "keys turned" in await stranger.text("/actions")


@pytest.mark.parametrize("name", TEXTS)
async def test_hostile_texts_are_text(viewer: Viewer, name: str) -> None:
    text = TEXTS[name]
    await record_action(
        viewer.database.connection,
        Actor("console", text),
        "a" + text,
        subject=text,
        reason=text,
        counts={text: 7},
    )
    page = await viewer.page("/actions")
    assert MARKUP not in page
    assert 'onmouseover="' not in page
    visible = " ".join(VISIBLE.get(name, text).split())[:35]
    assert text_of(page).count(visible) >= 4
