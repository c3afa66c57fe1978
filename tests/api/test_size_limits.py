"""Responses have a maximum size for any content of the tables, and mark what they omit."""

import json
from typing import Any

import pytest

from api import responses
from merganser.queries import events, limits, profiles
from merganser.runtime import metrics
from tests.api.reader import Reader
from tests.support import examples
from tests.support.counters import read_counter
from tests.support.events import event

MAX_BYTES = 16 << 20
"""Maximum size of a response."""
LARGE = examples.count(fast=20_000_000, full=200_000_000)
"""Size of a value in bytes, larger than any response."""


async def get_bounded(api: Reader, path: str, **parameters: Any) -> Any:
    """Return the body of a GET, and check its size."""
    response = await api.get(path, **parameters)
    assert response.status_code == 200, response.text[:500]
    assert len(response.content) < MAX_BYTES
    return response.json()


def count_cut(path: str) -> float:
    """Return how many responses of a route omitted something."""
    return read_counter(metrics.API_ANSWERS_CUT, f"/api/v1{path}")


async def insert_data(api: Reader, guid: str, key: str, value: str, count: int = 1) -> None:
    """Insert rows of `eventData` as another system does; `key` and `value` are SQL expressions."""
    await api.database.execute(
        f"""
        INSERT INTO "eventData" ("eventGuid", key, value)
        SELECT %s, {key}, {value} FROM generate_series(1, %s) AS n
        """,
        guid,
        count,
    )


async def test_huge_values_are_omitted(api: Reader) -> None:
    """A small event on the same page is complete."""
    large, small = event("ann", at=1), event("ann", at=2, path="/")
    await api.store(large, small)
    await insert_data(api, large["guid"], "'large'", f"repeat('x', {LARGE})")
    await insert_data(api, large["guid"], "'small'", "'here'")
    await api.database.execute(
        """
        INSERT INTO "profileProperties" SELECT %s, 'large', 0, value FROM "eventData"
        WHERE key = 'large'
        """,
        await api.profile_of(large),
    )
    before = count_cut("/event/{guid}")
    for found in (
        (await get_bounded(api, f"/event/{large['guid']}"))["event"],
        (await get_bounded(api, "/events", dataKey="large"))["events"][0],
        (await get_bounded(api, "/events/types"))["types"][0]["example"],
    ):
        assert found["guid"] in (large["guid"], small["guid"])
        assert found["moreData"] == (found["guid"] == large["guid"])
        assert found["data"] in ({"small": "here"}, {"path": "/"})
    assert count_cut("/event/{guid}") == before + 1
    (profile,) = (await get_bounded(api, "/profiles"))["profiles"]
    assert (profile["properties"], profile["moreProperties"]) == ({}, True)


async def test_a_huge_key_is_omitted(api: Reader) -> None:
    large = event("ann", path="/")
    await api.store(large)
    await insert_data(api, large["guid"], f"repeat('k', {LARGE})", "'x'")
    found = (await get_bounded(api, f"/event/{large['guid']}"))["event"]
    assert (found["data"], found["moreData"]) == ({"path": "/"}, True)


@pytest.mark.parametrize("column", ["ipAddress", "producerGuid"])
async def test_huge_fields_are_null(api: Reader, column: str) -> None:
    """Another event on the same page keeps its fields."""
    large, small = event("ann", at=1), event("ann", at=2)
    await api.store(large, small)
    await api.database.execute(
        f"UPDATE events SET \"{column}\" = repeat('x', {LARGE}) WHERE guid = %s",
        large["guid"],
    )
    found = (await get_bounded(api, "/events"))["events"]
    assert [(item[column] is None, item["moreData"]) for item in found] == [
        (False, False),
        (True, True),
    ]
    found = (await get_bounded(api, f"/event/{large['guid']}"))["event"]
    assert (found[column], found["moreData"]) == (None, True)


async def test_an_event_has_at_most_1000_rows_and_1_mib_of_data(api: Reader) -> None:
    many, long, exact = event("ann", at=1), event("ann", at=2), event("ann", at=3)
    await api.store(many, long, exact)
    await insert_data(api, many["guid"], "'key' || n", "n::text", 100_000)
    await insert_data(api, long["guid"], "'key' || n", "repeat('x', 100000)", 30)
    await insert_data(api, exact["guid"], "'k'", f"repeat('x', {limits.MAX_ENTRY_BYTES - 1})")
    found = (await get_bounded(api, "/events"))["events"]
    assert [len(item["data"]) for item in found] == [1, 10, events.MAX_DATA_ROWS]
    assert [item["moreData"] for item in found] == [False, True, True]
    (timeline,) = {item["profileGuid"] for item in found}
    before = count_cut("/profile/{guid}/events")
    assert (await get_bounded(api, f"/profile/{timeline}/events"))["events"] == found
    assert count_cut("/profile/{guid}/events") == before + 1


async def test_a_key_whose_last_row_is_too_long_shows_no_earlier_row(api: Reader) -> None:
    item = event("ann", path="/old")
    await api.store(item)
    await api.database.execute("""UPDATE "eventData" SET guid = 'edt_0'""")
    await insert_data(api, item["guid"], "'path'", "repeat('x', 2000000)")
    found = (await get_bounded(api, "/events"))["events"][0]
    assert (found["data"], found["moreData"]) == ({}, True)


async def test_properties_larger_than_a_response_are_omitted(api: Reader) -> None:
    """An older version stored up to 47 MiB for one profile."""
    await api.store(*(event(f"user {n}") for n in range(9)))
    await api.database.execute(
        """
        INSERT INTO "profilePropertyRules" (key, definition)
        VALUES ('paths', '{"type": "string", "array": true}')
        """
    )
    await api.database.execute(
        """
        INSERT INTO "profileProperties"
        SELECT guid, 'paths', n, repeat('x', 49152) FROM profiles, generate_series(0, 999) AS n
        """
    )
    before = count_cut("/profiles")
    pages = await api.pages("/profiles", "profiles")
    assert count_cut("/profiles") == before + len(pages)
    found = [item for page in pages for item in page]
    assert len({item["guid"] for item in found}) == 9
    assert len(json.dumps(pages)) < 9 * 1.1 * limits.MAX_ENTRY_BYTES
    assert all(item["moreProperties"] for item in found)
    fitting = limits.MAX_ENTRY_BYTES // len("paths" + "x" * 49152)
    assert all(item["properties"] == {"paths": ["x" * 49152] * fitting} for item in found)
    item = (await get_bounded(api, f"/profile/{found[0]['guid']}"))["profile"]
    assert item == found[0]


async def test_a_page_is_measured_as_encoded_json(api: Reader) -> None:
    """JSON encodes a control character in six bytes."""
    await api.store(*(event(f"user {n}", path="\x01" * 1_000_000) for n in range(9)))
    await api.database.execute(
        """
        INSERT INTO "profileProperties"
        SELECT guid, 'path', 0, repeat(chr(1), 1000000) FROM profiles
        """
    )
    for path, part in (("/events", "events"), ("/profiles", "profiles")):
        before = count_cut(path)
        assert len((await get_bounded(api, path))[part]) == 2
        assert count_cut(path) == before + 1
        pages = await api.pages(path, part)
        assert [len(page) for page in pages] == [2, 2, 2, 2, 1]
        assert len({item["guid"] for page in pages for item in page}) == 9
    await api.database.execute("UPDATE events SET type = guid")
    pages = await api.pages("/events/types", "types")
    assert [len(page) for page in pages] == [2, 2, 2, 2, 1]


async def test_a_profile_shows_whether_properties_are_omitted(
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


async def test_a_page_of_merges_with_long_ids_is_limited(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_PAGE_BYTES", 1_000)
    devices = [f"{n}" + "d" * 500 for n in range(5)]
    await api.store(*(event(anonymous=device) for device in devices))
    links = [event("ann", device) for device in devices]
    await api.store(*links)
    path = f"/profile/{await api.profile_of(links[0])}/merges"
    pages = await api.pages(path, "merges")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [item["anonymousId"] for page in pages for item in page] == devices[::-1]


async def test_an_explanation_is_limited(api: Reader) -> None:
    devices = ["\x01" * 508 + f"{n:04}" for n in range(200)]
    await api.store(*(event(anonymous=device) for device in devices))
    links = [event("ann", device) for device in devices]
    await api.store(*links)
    found = await get_bounded(api, f"/profile/{await api.profile_of(links[0])}/explain")
    assert len(found["explanations"][0]["visitors"]) == 50


@pytest.mark.parametrize(
    "definition", ['{"array": "no such", "type": {"a": 1}}', "1", "[]", '{"array": 7, "type": 3}']
)
async def test_properties_of_a_broken_rule_are_strings(api: Reader, definition: str) -> None:
    await api.store(event("ann"))
    await api.database.execute(
        'INSERT INTO "profilePropertyRules" (key, definition) VALUES (%s, %s)', "key", definition
    )
    await api.database.execute(
        """INSERT INTO "profileProperties" SELECT guid, 'key', 0, '1' FROM profiles"""
    )
    (profile,) = await api.get_all("/profiles", "profiles")
    assert profile["properties"] == {"key": "1"}
