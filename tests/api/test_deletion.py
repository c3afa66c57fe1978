"""DELETE /event/{guid}: what it deletes, what it refuses, and what changes as a result."""

import asyncio

import httpx

from tests.api.reader import Reader
from tests.properties.harness import COUNT, PropertyHarness
from tests.support.events import event
from tests.support.waiting import equals, eventually


async def delete(api: Reader, guid: str, key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or api.key}"}
    return await api.request("DELETE", f"/api/v1/event/{guid}", headers)


async def test_only_the_event_and_its_data_are_deleted(api: Reader) -> None:
    goes, stays = event("ann", price="1"), event("ann", price="2")
    await api.store(goes, stays)
    response = await delete(api, goes["guid"])
    assert response.status_code == 200
    assert response.json() == {"success": True, "event": {"guid": goes["guid"]}}
    assert await api.database.column("SELECT guid FROM events") == [stays["guid"]]
    assert await api.database.column('SELECT value FROM "eventData"') == ["2"]
    assert "etag" not in response.headers

    again = await delete(api, goes["guid"])
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_properties_are_computed_again_without_the_deleted_event(api: Reader) -> None:
    harness = PropertyHarness(api.database)
    await harness.apply(COUNT)
    visits = [event("ann", kind="view") for _ in range(3)]
    await api.store(*visits)
    await harness.run_steps()
    profile = await api.profile_of(visits[0])
    assert await harness.read_values(profile, "visits") == ["3"]
    assert (await delete(api, visits[1]["guid"])).status_code == 200
    await harness.run_steps()
    assert await harness.read_values(profile, "visits") == ["2"]
    assert await harness.find_disagreements() == []
    found = await api.get_json(f"/profile/{profile}")
    assert found["profile"]["properties"]["visits"] == 2


async def test_the_link_that_owns_an_anonymous_id_cannot_be_deleted(api: Reader) -> None:
    link, later = event("ann", "phone", at=0), event("ann", "phone", at=1)
    foreign = event("bob", "phone", at=2)
    await api.store(link, later, foreign)
    response = await delete(api, link["guid"])
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "phone belongs to user ann" in response.json()["message"]
    assert await api.database.count("events") == 3
    # The first link decides the owner, so other links can be deleted.
    assert (await delete(api, later["guid"])).status_code == 200
    assert (await delete(api, foreign["guid"])).status_code == 200


async def test_a_key_that_may_only_write_events_cannot_delete(api: Reader) -> None:
    """Every web page has such a key."""
    item = event("ann")
    await api.store(item)
    response = await delete(api, item["guid"], await api.new_key("events:write"))
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert await api.database.count("events") == 1


async def test_a_refusal_names_ids_only_to_keys_that_may_read(api: Reader) -> None:
    link = event("ann@example.test", "phone-of-ann")
    await api.store(link)
    response = await delete(api, link["guid"], await api.new_key("events:delete"))
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "ann" not in response.text
    may_read = await api.new_key("events:delete", "events:read")
    response = await delete(api, link["guid"], may_read)
    assert "phone-of-ann belongs to user ann@example.test" in response.json()["message"]


async def test_a_deletion_waits_for_the_resolution_of_its_event(api: Reader) -> None:
    """The event may become the link that owns its anonymousId; then it must stay."""
    row = event("ann", "phone")
    await api.insert_unresolved(row)
    async with api.database.connection.transaction():
        await api.database.execute("SELECT FROM events FOR UPDATE")
        deleting = asyncio.create_task(delete(api, row["guid"]))
        await asyncio.sleep(0.1)
        assert not deleting.done()
        await api.database.execute(
            'INSERT INTO "anonymousIds" VALUES (%s, %s, %s, %s, %s)',
            *("phone", "pro_1", "ann", row["occurredAt"], row["guid"]),
        )
    assert (await deleting).status_code == 409


async def test_a_deletion_gives_up_if_the_resolution_takes_too_long(api: Reader) -> None:
    row = event("ann", "phone")
    await api.insert_unresolved(row)
    async with api.database.connection.transaction():
        await api.database.execute("SELECT FROM events FOR UPDATE")
        response = await delete(api, row["guid"])
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0
    await eventually(lambda: _status(api, row["guid"]), equals(200))


async def _status(api: Reader, guid: str) -> int:
    return (await delete(api, guid)).status_code
