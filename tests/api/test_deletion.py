"""DELETE /event/{guid}: what goes, what follows, and what must stay."""

import asyncio

import httpx

from tests.api.reader import Reader
from tests.properties.harness import COUNT, PropertyHarness
from tests.support.events import event
from tests.support.waiting import equals, eventually


async def delete(api: Reader, guid: str, key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or api.key}"}
    return await api.request("DELETE", f"/api/v1/event/{guid}", headers)


async def test_an_event_goes_with_its_data_and_no_other(api: Reader) -> None:
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


async def test_properties_follow(api: Reader) -> None:
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


async def test_the_event_that_owns_an_anonymous_id_stays(api: Reader) -> None:
    link, later = event("ann", "phone", at=0), event("ann", "phone", at=1)
    foreign = event("bob", "phone", at=2)
    await api.store(link, later, foreign)
    response = await delete(api, link["guid"])
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "phone belongs to user ann" in response.json()["message"]
    assert await api.database.count("events") == 3
    # Other links say nothing that the first one does not.
    assert (await delete(api, later["guid"])).status_code == 200
    assert (await delete(api, foreign["guid"])).status_code == 200


async def test_who_may_only_add_deletes_nothing(api: Reader) -> None:
    """Such a key stands in every web page."""
    one = event("ann")
    await api.store(one)
    response = await delete(api, one["guid"], await api.new_key("events:write"))
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert await api.database.count("events") == 1


async def test_who_may_not_read_is_told_no_ids(api: Reader) -> None:
    link = event("ann@example.test", "phone-of-ann")
    await api.store(link)
    response = await delete(api, link["guid"], await api.new_key("events:delete"))
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "ann" not in response.text
    may_read = await api.new_key("events:delete", "events:read")
    response = await delete(api, link["guid"], may_read)
    assert "phone-of-ann belongs to user ann@example.test" in response.json()["message"]


async def test_an_event_that_is_being_resolved_is_waited_for(api: Reader) -> None:
    """It may become the link that owns its anonymousId, and must stay then."""
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


async def test_but_not_for_long(api: Reader) -> None:
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
