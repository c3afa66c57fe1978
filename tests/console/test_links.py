"""The page that unlinks and relinks an event."""

import re

import pytest

from merganser.http.authentication import Permission
from tests.console.test_profiles import ON_PHONE, SIGN_IN, VISIT, store_story
from tests.console.viewer import Viewer, text_of
from tests.support.events import event

LINK = f"/events/{SIGN_IN['guid']}"


async def owner(viewer: Viewer) -> str | None:
    """Return the user that the visit on the phone belongs to."""
    return await viewer.database.user_of(ON_PHONE["guid"])


async def test_the_preview_says_what_would_move_and_changes_nothing(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    page = await viewer.page(f"{LINK}/link")
    text = text_of(page)
    assert f"{SIGN_IN['guid']} links anonymousId phone to user ann" in text
    assert f"1 event of phone goes from {ann} to a new anonymous profile" in text
    assert "Unlink this event and move 1 event" in text
    assert 'name="reason"' in page
    assert await owner(viewer) == "ann"
    assert await viewer.database.count("ignoredLinks") == 0
    assert await viewer.database.count("actions") == 0


async def test_an_event_is_unlinked_and_linked_again(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    response = await viewer.post(f"{LINK}/unlink", {"reason": " on the wrong tablet "})
    assert (response.status_code, response.headers["location"]) == (303, f"{LINK}#link")
    assert await owner(viewer) is None
    page = await viewer.page(LINK)
    assert re.search(
        r"Unlinked .* unlinked 20\S+ \S+ UTC by .*: on the wrong tablet Relink", text_of(page)
    )
    assert f'href="{LINK}/link"' in page
    profile = await viewer.page(f"/profiles/{ann}")
    assert f'href="{LINK}/link" aria-label="Relink' in profile
    assert "two users never merge" not in profile, "an ignored link is not a refused one"

    assert "Relink this event and move 1 event" in await viewer.text(f"{LINK}/link")
    response = await viewer.post(f"{LINK}/relink", {"reason": "it was right"})
    assert response.status_code == 303
    assert await owner(viewer) == "ann"
    text = await viewer.text(LINK)
    assert re.search(r"relinked .*: it was right unlinked .*: on the wrong tablet Unlink", text)
    log = "SELECT source, action, counts FROM actions ORDER BY guid"
    counts = {"links": 1, "events": 1}
    assert await viewer.database.rows(log) == [
        ("console", "event unlinked", counts),
        ("console", "event relinked", counts),
    ]
    shown = await viewer.page("/actions")
    assert SIGN_IN["guid"] in shown
    assert "on the wrong tablet" in shown


async def test_all_events_with_the_same_two_ids_are_unlinked_together(viewer: Viewer) -> None:
    await store_story(viewer)
    await viewer.store.store(event("ann", "phone", at=50), event("ann", "phone", at=60))
    assert "stays with user ann, by another link" in await viewer.text(f"{LINK}/link")
    text = await viewer.text(f"{LINK}/link", all="on")
    assert "3 events link anonymousId phone to user ann" in text
    assert "Unlink 3 events and move 1 event" in text
    await viewer.post(f"{LINK}/unlink", {"reason": "wrong", "all": "on"})
    assert await owner(viewer) is None
    assert await viewer.database.count("ignoredLinks") == 3
    await viewer.post(f"{LINK}/relink", {"reason": "right", "all": "on"})
    assert await owner(viewer) == "ann"


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        ("", "Say why, in at most 1,000 characters."),
        ("x" * 1001, "Say why, in at most 1,000 characters."),
        ("not Ann's <b>", "The reason contains an id of the person"),
    ],
    ids=["none", "long", "an id"],
)
async def test_a_wrong_reason_is_explained_and_kept(
    viewer: Viewer, reason: str, problem: str
) -> None:
    await store_story(viewer)
    response = await viewer.post(f"{LINK}/unlink", {"reason": reason, "all": "on"})
    assert response.status_code == 422
    assert problem in text_of(response.text)
    kept = reason.replace("'", "&#39;").replace("<b>", "&lt;b&gt;")
    assert f'name="reason" value="{kept}"' in response.text
    assert 'name="all" value="on"' in response.text
    assert await owner(viewer) == "ann"
    assert await viewer.database.count("actions") == 0


async def test_any_id_can_be_previewed(viewer: Viewer) -> None:
    await viewer.store.store(event("preview", "phone"))
    found = await viewer.database.value("SELECT guid FROM events")
    assert "links anonymousId phone to user preview" in await viewer.text(f"/events/{found}/link")


async def test_a_reason_in_any_script_fits_into_the_form(viewer: Viewer) -> None:
    await store_story(viewer)
    response = await viewer.post(f"{LINK}/unlink", {"reason": "理" * 1000})
    assert response.status_code == 303


@pytest.mark.parametrize("path", ["/events/evt_none", "VISIT", f"/events/{'x' * 65}"])
async def test_an_event_that_is_no_link_is_not_found(viewer: Viewer, path: str) -> None:
    await store_story(viewer)
    # Guids differ between workers of pytest-xdist, so they cannot be part of a test's id.
    path = path.replace("VISIT", f"/events/{VISIT['guid']}")
    for response in (
        await viewer.get(f"{path}/link"),
        await viewer.post(f"{path}/unlink", {"reason": "wrong"}),
    ):
        assert response.status_code == 404
        assert "Not found" in text_of(response.text)
    assert f"{path}/link" not in (await viewer.get(path)).text


async def test_a_pruned_link_is_unlinked_for_good(viewer: Viewer) -> None:
    ann, _ = await store_story(viewer)
    await viewer.database.execute("DELETE FROM events WHERE guid = %s", SIGN_IN["guid"])
    assert "was pruned: it cannot be linked again" in await viewer.text(f"{LINK}/link")
    response = await viewer.post(f"{LINK}/unlink", {"reason": "wrong"})
    assert response.headers["location"] == f"/profiles/{ann}#identity"
    assert await owner(viewer) is None
    response = await viewer.get(f"{LINK}/link")
    assert response.status_code == 404
    assert "it was unlinked and then pruned" in text_of(response.text)


async def test_readers_see_the_trail_and_cannot_change_it(stranger: Viewer) -> None:
    await stranger.log_in(*Permission)
    ann, _ = await store_story(stranger)
    await stranger.post(f"{LINK}/unlink", {"reason": "on the wrong tablet"})
    await stranger.log_in(Permission.READ_CONSOLE)
    page = await stranger.page(LINK)
    assert "on the wrong tablet" in text_of(page)
    for path in (LINK, f"/profiles/{ann}"):
        assert f"{LINK}/link" not in await stranger.page(path)
    for response in (
        await stranger.get(f"{LINK}/link"),
        await stranger.post(f"{LINK}/relink", {"reason": "right"}),
    ):
        assert response.status_code == 403
        assert "you have no permission console:write" in text_of(response.text).lower()
    assert await owner(stranger) is None
