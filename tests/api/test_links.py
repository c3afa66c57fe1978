"""POST /event/{guid}/unlink and /relink: permissions, changes and previews."""

import httpx
import pytest

from tests.api.reader import Reader
from tests.support.events import event

VIEW = event(None, "phone", at=0, kind="view")
LINK = event("ann", "phone", at=1)
LATER = event("bob", "phone", at=2)


@pytest.fixture
async def key(api: Reader) -> str:
    """Store events of a shared device, and return a key that may change links and read."""
    await api.store(VIEW, LINK, LATER)
    return await api.new_key("links:write", "events:read")


async def post(api: Reader, path: str, key: str) -> httpx.Response:
    return await api.request("POST", f"/api/v1/event/{path}", {"authorization": f"Bearer {key}"})


async def owner(api: Reader) -> str | None:
    return await api.database.user_of(VIEW["guid"])


async def test_a_link_can_be_ignored_and_restored(api: Reader, key: str) -> None:
    ann, bob = await api.profile_of(LINK), await api.profile_of(LATER)
    preview = await post(api, f"{LINK['guid']}/unlink?reason=wrong&preview=true", key)
    assert preview.json() == {
        "eventGuid": LINK["guid"],
        "changed": True,
        "links": 1,
        "isPruned": False,
        "events": 1,
        "loserGuid": ann,
        "survivorGuid": bob,
        "userId": "ann",
        "anonymousId": "phone",
        "ownerUserId": "bob",
    }
    assert await owner(api) == "ann"
    response = await post(api, f"{LINK['guid']}/unlink?reason=wrong", key)
    assert response.json() == preview.json()
    assert await owner(api) == "bob"
    changes = await api.database.rows('SELECT action, reason, actor FROM "linkChanges"')
    ((action, reason, actor),) = changes
    assert (action, reason) == ("unlinked", "wrong")
    assert actor.startswith("API key key_")

    again = await post(api, f"{LINK['guid']}/unlink?reason=wrong", key)
    assert again.json()["changed"] is False
    response = await post(api, f"{LINK['guid']}/relink?reason=it+was+right", key)
    assert response.json()["ownerUserId"] == "ann"
    assert await owner(api) == "ann"


async def test_all_links_of_the_same_ids_change_together(api: Reader, key: str) -> None:
    again = event("ann", "phone", at=3)
    await api.store(again)
    response = await post(api, f"{LINK['guid']}/unlink?reason=wrong", key)
    assert (response.json()["links"], response.json()["ownerUserId"]) == (1, "bob")
    response = await post(api, f"{LATER['guid']}/unlink?reason=wrong", key)
    assert response.json()["ownerUserId"] == "ann", "by the other link"
    response = await post(api, f"{again['guid']}/unlink?reason=wrong&all=true", key)
    assert (response.json()["links"], response.json()["ownerUserId"]) == (1, None)
    response = await post(api, f"{again['guid']}/relink?reason=right&all=true", key)
    assert (response.json()["links"], response.json()["ownerUserId"]) == (2, "ann")


async def test_an_ignored_link_can_be_deleted(api: Reader, key: str) -> None:
    await post(api, f"{LINK['guid']}/unlink?reason=forged", key)
    eraser = {"authorization": f"Bearer {await api.new_key('events:delete')}"}
    path = f"/api/v1/event/{LINK['guid']}"
    assert (await api.request("DELETE", path, eraser)).status_code == 200


async def test_ids_are_hidden_from_keys_that_may_not_read_events(api: Reader, key: str) -> None:
    may_not_read = await api.new_key("links:write")
    response = await post(api, f"{LINK['guid']}/unlink?reason=wrong&preview=true", may_not_read)
    body = response.json()
    assert (body["userId"], body["anonymousId"], body["ownerUserId"]) == (None, None, None)
    assert body["events"] == 1
    assert key


@pytest.mark.parametrize("permission", ["events:write", "events:delete", "events:read"])
async def test_other_permissions_cannot_change_links(
    api: Reader, key: str, permission: str
) -> None:
    other = await api.new_key(permission)
    response = await post(api, f"{LINK['guid']}/unlink?reason=wrong", other)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert key
    assert await owner(api) == "ann"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("LINK/unlink", 422),
        ("LINK/unlink?reason=+", 422),
        ("LINK/unlink?reason=not+Ann", 422),
        ("LINK/unlink?reason=it+is+Bob's&preview=true", 422),
        (f"LINK/unlink?reason={'x' * 1001}", 422),
        ("VIEW/unlink?reason=wrong", 404),
        ("evt_none/relink?reason=wrong", 404),
    ],
    ids=[
        "no reason",
        "an empty reason",
        "a reason with the user",
        "a reason with the next owner",
        "a long reason",
        "not a link",
        "unknown event",
    ],
)
async def test_an_invalid_change_is_refused(api: Reader, key: str, path: str, status: int) -> None:
    # Guids differ between workers of pytest-xdist, so they cannot be part of a test's id.
    path = path.replace("LINK", LINK["guid"]).replace("VIEW", VIEW["guid"])
    response = await post(api, path, key)
    assert response.status_code == status
    assert await api.database.count("linkChanges") == 0
