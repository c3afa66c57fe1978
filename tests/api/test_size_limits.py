"""No answer is larger than its bound, whatever is in the tables, and it says what it left out."""

import json
from typing import Any

import pytest

from api import events, profiles, responses
from merganser.runtime import metrics
from tests.api.reader import Reader
from tests.support import examples
from tests.support.counters import read_counter
from tests.support.events import event

MOST = 16 << 20
"""Bytes of any response."""
LARGE = examples.count(fast=20_000_000, full=200_000_000)
"""Bytes of a value: more than any response may have."""


async def bounded(api: Reader, path: str, **parameters: Any) -> Any:
    """An answer, which must not be too large."""
    response = await api.get(path, **parameters)
    assert response.status_code == 200, response.text[:500]
    assert len(response.content) < MOST
    return response.json()


def cut(path: str) -> float:
    """How many answers of a route were cut."""
    return read_counter(metrics.API_ANSWERS_CUT, f"/api/v1{path}")


async def data(api: Reader, guid: str, key: str, value: str, count: int = 1) -> None:
    """Rows of another system, as many as asked for."""
    await api.database.execute(
        f"""
        INSERT INTO "eventData" ("eventGuid", key, value)
        SELECT %s, {key}, {value} FROM generate_series(1, %s) AS n
        """,
        guid,
        count,
    )


async def test_huge_values(api: Reader) -> None:
    """An event with them, and one beside it."""
    large, small = event("ann", at=1), event("ann", at=2, path="/")
    await api.store(large, small)
    await data(api, large["guid"], "'large'", f"repeat('x', {LARGE})")
    await data(api, large["guid"], "'small'", "'here'")
    await api.database.execute(
        """
        INSERT INTO "profileProperties" SELECT %s, 'large', 0, value FROM "eventData"
        WHERE key = 'large'
        """,
        await api.profile_of(large),
    )
    before = cut("/event/{guid}")
    for found in (
        (await bounded(api, f"/event/{large['guid']}"))["event"],
        (await bounded(api, "/events", dataKey="large"))["events"][0],
        (await bounded(api, "/events/types"))["types"][0]["example"],
    ):
        assert found["guid"] in (large["guid"], small["guid"])
        assert found["moreData"] == (found["guid"] == large["guid"])
        assert found["data"] in ({"small": "here"}, {"path": "/"})
    assert cut("/event/{guid}") == before + 1
    (profile,) = (await bounded(api, "/profiles"))["profiles"]
    assert (profile["properties"], profile["moreProperties"]) == ({}, True)


async def test_a_huge_key(api: Reader) -> None:
    large = event("ann", path="/")
    await api.store(large)
    await data(api, large["guid"], f"repeat('k', {LARGE})", "'x'")
    found = (await bounded(api, f"/event/{large['guid']}"))["event"]
    assert (found["data"], found["moreData"]) == ({"path": "/"}, True)


@pytest.mark.parametrize("column", ["ipAddress", "producerGuid"])
async def test_huge_fields(api: Reader, column: str) -> None:
    """On a page with another event, whose fields are as they are."""
    large, small = event("ann", at=1), event("ann", at=2)
    await api.store(large, small)
    await api.database.execute(
        f"UPDATE events SET \"{column}\" = repeat('x', {LARGE}) WHERE guid = %s",
        large["guid"],
    )
    found = (await bounded(api, "/events"))["events"]
    assert [(one[column] is None, one["moreData"]) for one in found] == [
        (False, False),
        (True, True),
    ]
    found = (await bounded(api, f"/event/{large['guid']}"))["event"]
    assert (found[column], found["moreData"]) == (None, True)


async def test_an_event_has_a_thousand_rows_and_a_mebibyte_at_most(api: Reader) -> None:
    many, long, exact = event("ann", at=1), event("ann", at=2), event("ann", at=3)
    await api.store(many, long, exact)
    await data(api, many["guid"], "'key' || n", "n::text", 100_000)
    await data(api, long["guid"], "'key' || n", "repeat('x', 100000)", 30)
    await data(api, exact["guid"], "'k'", f"repeat('x', {responses.MAX_ENTRY_BYTES - 1})")
    found = (await bounded(api, "/events"))["events"]
    assert [len(one["data"]) for one in found] == [1, 10, events.MAX_DATA_ROWS]
    assert [one["moreData"] for one in found] == [False, True, True]
    (timeline,) = {one["profileGuid"] for one in found}
    before = cut("/profile/{guid}/events")
    assert (await bounded(api, f"/profile/{timeline}/events"))["events"] == found
    assert cut("/profile/{guid}/events") == before + 1


async def test_a_key_whose_last_row_is_too_long_does_not_show_an_earlier_one(api: Reader) -> None:
    one = event("ann", path="/old")
    await api.store(one)
    await api.database.execute("""UPDATE "eventData" SET guid = 'edt_0'""")
    await data(api, one["guid"], "'path'", "repeat('x', 2000000)")
    found = (await bounded(api, "/events"))["events"][0]
    assert (found["data"], found["moreData"]) == ({}, True)


async def test_profiles_whose_properties_are_all_values_of_an_older_version(api: Reader) -> None:
    """Once they were 47 MiB of one profile."""
    await api.store(*(event(f"user {n}") for n in range(9)))
    await api.database.execute(
        """
        INSERT INTO "profileProperties"
        SELECT guid, 'paths', n, repeat('x', 49152) FROM profiles, generate_series(0, 999) AS n
        """
    )
    before = cut("/profiles")
    pages = await api.pages("/profiles", "profiles")
    assert cut("/profiles") == before + len(pages)
    found = [one for page in pages for one in page]
    assert len({one["guid"] for one in found}) == 9
    assert len(json.dumps(pages)) < 9 * 1.1 * responses.MAX_ENTRY_BYTES
    assert all(one["moreProperties"] for one in found)
    one = (await bounded(api, f"/profile/{found[0]['guid']}"))["profile"]
    assert one == found[0]


async def test_a_page_is_measured_as_it_is_sent(api: Reader) -> None:
    """JSON writes a control character in six."""
    await api.store(*(event(f"user {n}", path="\x01" * 1_000_000) for n in range(9)))
    await api.database.execute(
        """
        INSERT INTO "profileProperties"
        SELECT guid, 'path', 0, repeat(chr(1), 1000000) FROM profiles
        """
    )
    for path, part in (("/events", "events"), ("/profiles", "profiles")):
        before = cut(path)
        assert len((await bounded(api, path))[part]) == 2
        assert cut(path) == before + 1
        pages = await api.pages(path, part)
        assert [len(page) for page in pages] == [2, 2, 2, 2, 1]
        assert len({one["guid"] for page in pages for one in page}) == 9
    await api.database.execute("UPDATE events SET type = guid")
    pages = await api.pages("/events/types", "types")
    assert [len(page) for page in pages] == [2, 2, 2, 2, 1]


async def test_a_profile_says_whether_it_has_more_properties_than_are_shown(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MAX_PROPERTY_VALUES", 3)
    await api.store(event("ann"), event("bob"))
    await api.database.execute(
        """
        INSERT INTO "profileProperties" SELECT guid, 'key' || n, 0, 'x'
        FROM profiles, generate_series(1, 4) AS n WHERE "userId" = 'ann' OR n < 4
        """
    )
    for user_id, more in {"ann": True, "bob": False}.items():
        ((profile,),) = await api.pages("/profiles", "profiles", userId=user_id)
        assert profile["properties"] == {"key1": "x", "key2": "x", "key3": "x"}
        assert profile["moreProperties"] == more


async def test_merges_of_long_ids(api: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_PAGE_BYTES", 1_000)
    devices = [f"{n}" + "d" * 500 for n in range(5)]
    await api.store(*(event(anonymous=device) for device in devices))
    links = [event("ann", device) for device in devices]
    await api.store(*links)
    path = f"/profile/{await api.profile_of(links[0])}/merges"
    pages = await api.pages(path, "merges")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one["anonymousId"] for page in pages for one in page] == devices[::-1]


async def test_a_profile_explained_is_bounded(api: Reader) -> None:
    devices = ["\x01" * 508 + f"{n:04}" for n in range(200)]
    await api.store(*(event(anonymous=device) for device in devices))
    links = [event("ann", device) for device in devices]
    await api.store(*links)
    found = await bounded(api, f"/profile/{await api.profile_of(links[0])}/explain")
    assert len(found["explanations"][0]["visitors"]) == 50


@pytest.mark.parametrize(
    "definition", ['{"array": "no such", "type": {"a": 1}}', "1", "[]", '{"array": 7, "type": 3}']
)
async def test_a_rule_that_somebody_broke_leaves_the_properties_readable(
    api: Reader, definition: str
) -> None:
    await api.store(event("ann"))
    await api.database.execute(
        'INSERT INTO "profilePropertyRules" (key, definition) VALUES (%s, %s)', "key", definition
    )
    await api.database.execute(
        """INSERT INTO "profileProperties" SELECT guid, 'key', 0, '1' FROM profiles"""
    )
    (profile,) = await api.get_all("/profiles", "profiles")
    assert profile["properties"] == {"key": "1"}
