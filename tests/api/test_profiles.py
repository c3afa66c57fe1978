"""GET /profiles, /profile/{guid} and the paths below it."""

from typing import Any

import pytest

from merganser.queries import profiles
from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from tests.api.reader import Reader
from tests.properties.harness import PATHS, USER_ID
from tests.support.events import event

TYPED = [
    ("integer", ["9007199254740993"], "9007199254740993"),
    ("float", ["0.10"], "0.10"),
    ("float", ["12345678901234567890.123456789"], "12345678901234567890.123456789"),
    ("float", ["-1e5"], "-1e5"),
    ("float", ["NaN"], '"NaN"'),
    ("boolean", ["true"], "true"),
    ("boolean", ["yes"], '"yes"'),
    ("string", ["1"], '"1"'),
    ("string", ['a "b"\\\n'], '"a \\"b\\"\\\\\\n"'),
    ("date", ["2026-03-01T12:00:00Z"], '"2026-03-01T12:00:00Z"'),
    ("float", ["2.50", "1"], "[2.50,1]"),
]
"""Type of the rule, stored values, and the property in the response."""


async def test_a_property_has_the_type_of_its_rule(api: Reader) -> None:
    visit = event("ann")
    await api.store(visit)
    profile = await api.profile_of(visit)
    rules: list[dict[str, Any]] = [USER_ID]
    for n, (kind, values, _) in enumerate(TYPED):
        array = len(values) > 1
        source = {"type": "view", "column": "data.value"}
        aggregation = "all values" if array else "most recent"
        rule = {"key": f"key{n}", "type": kind, "array": array}
        rules.append({**rule, "events": {**source, "aggregation": aggregation}})
        for position, value in enumerate(values):
            await api.database.execute(
                'INSERT INTO "profileProperties" VALUES (%s, %s, %s, %s)',
                *(profile, f"key{n}", position, value),
            )
    await rule_store.apply_file(api.database.connection, RuleFile.model_validate({"rules": rules}))
    # Compare the text: a JSON parser could change a number.
    text = (await api.get(f"/profile/{profile}")).text
    for n, (*_, expected) in enumerate(TYPED):
        assert f'"key{n}":{expected}' in text


async def test_an_array_of_one_value_is_an_array(api: Reader) -> None:
    visit = event("ann")
    await api.store(visit)
    profile = await api.profile_of(visit)
    await rule_store.apply_file(
        api.database.connection, RuleFile.model_validate({"rules": [USER_ID, PATHS]})
    )
    await api.database.execute(
        "INSERT INTO \"profileProperties\" VALUES (%s, 'paths', 0, '/')", profile
    )
    found = await api.get_json(f"/profile/{profile}")
    assert found["profile"]["properties"] == {"paths": ["/"]}


async def test_a_property_without_a_rule_is_a_string(api: Reader) -> None:
    visit = event("ann")
    await api.store(visit)
    profile = await api.profile_of(visit)
    await api.database.execute(
        "INSERT INTO \"profileProperties\" VALUES (%s, 'old', 0, '1')", profile
    )
    found = await api.get_json(f"/profile/{profile}")
    assert found["profile"]["properties"] == {"old": "1"}


async def test_a_profile_is_found_by_each_of_its_ids(api: Reader) -> None:
    link, other = event("ann", "phone"), event(anonymous="laptop")
    await api.store(link, event("ann", "tablet"), other)
    ann, laptop = await api.profile_of(link), await api.profile_of(other)
    found = await api.get_json(f"/profile/{ann}")
    profile = found["profile"]
    assert found["mergedFrom"] is None
    assert profile == {
        "guid": ann,
        "userId": "ann",
        "anonymousIds": ["phone", "tablet"],
        "moreAnonymousIds": False,
        "createdAt": profile["createdAt"],
        "updatedAt": profile["updatedAt"],
        "properties": {},
        "moreProperties": False,
    }
    for query in ({"userId": "ann"}, {"anonymousId": "phone"}, {"anonymousId": "tablet"}):
        assert await api.get_all("/profiles", "profiles", **query) == [profile]
    (anonymous,) = await api.get_all("/profiles", "profiles", anonymousId="laptop")
    assert (anonymous["guid"], anonymous["userId"]) == (laptop, None)
    assert await api.get_all("/profiles", "profiles", userId="phone") == []


async def test_all_profiles_are_listed_in_pages(api: Reader) -> None:
    visits = [event(anonymous=f"visitor {n}") for n in range(7)]
    await api.store(*visits)
    expected = sorted([await api.profile_of(visit) for visit in visits])
    pages = await api.pages("/profiles", "profiles", limit=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [item["guid"] for page in pages for item in page] == expected


async def test_profiles_are_found_by_a_property(api: Reader) -> None:
    visits = [event(anonymous=f"visitor {n}") for n in range(5)]
    await api.store(*visits)
    guids = sorted([await api.profile_of(visit) for visit in visits])
    long = "x" * 300
    for guid, key, position, value in [
        *((guid, "plan", 0, "free") for guid in guids[:3]),
        *((guids[3], "tags", n, tag) for n, tag in enumerate(["a", "b", "b"])),
        *((guids[3], "long", 0, long), (guids[4], "long", 0, long + "y")),
    ]:
        await api.database.execute(
            'INSERT INTO "profileProperties" VALUES (%s, %s, %s, %s)', guid, key, position, value
        )

    async def by(key: str, value: str) -> list[str]:
        found = await api.get_all("/profiles", "profiles", property=key, value=value, limit=2)
        return [item["guid"] for item in found]

    assert await by("plan", "free") == guids[:3]
    assert await by("plan", "fre") == []
    assert await by("tags", "b") == [guids[3]]
    assert await by("long", long) == [guids[3]]
    assert await by("other", "free") == []


async def test_anonymous_ids_are_listed_up_to_a_limit(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MAX_ANONYMOUS_IDS", 2)
    await api.store(*(event("ann", f"device {n}") for n in range(3)))
    (profile,) = await api.get_all("/profiles", "profiles")
    assert (len(profile["anonymousIds"]), profile["moreAnonymousIds"]) == (2, True)


async def test_a_page_ends_before_its_properties_are_too_large(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MAX_PAGE_BYTES", 10)
    visits = [event(anonymous=f"{n}") for n in range(7)]
    await api.store(*visits)
    guids = sorted([await api.profile_of(visit) for visit in visits])
    for guid, value in {0: "x", 1: "x" * 7, 2: "x", 4: "x" * 99, 6: "x"}.items():
        await api.database.execute(
            "INSERT INTO \"profileProperties\" VALUES (%s, 'key', 0, %s)", guids[guid], value
        )
    pages = await api.pages("/profiles", "profiles")
    assert [len(page) for page in pages] == [2, 4, 1]
    found = [item for page in pages for item in page]
    assert [item["guid"] for item in found] == guids
    assert found[4]["properties"] == {"key": "x" * 99}
    pages = await api.pages("/profiles", "profiles", limit=1)
    assert [len(page) for page in pages] == [1] * 7


async def test_a_page_ends_before_its_anonymous_ids_are_too_large(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MAX_PAGE_BYTES", 10)
    await api.store(*(event(f"user {n}", f"visitor {n}") for n in range(7)))
    pages = await api.pages("/profiles", "profiles")
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    for page in pages:
        assert all(len(item["anonymousIds"]) == 1 for item in page)


async def merge_profiles(api: Reader) -> tuple[str, str]:
    """Merge two profiles; return the guid of the deleted one and of the survivor."""
    visit = event(anonymous="phone", at=1)
    await api.store(event("ann", at=0), visit)
    old = await api.profile_of(visit)
    link = event("ann", "phone", at=2)
    await api.store(link)
    survivor = await api.profile_of(link)
    assert old != survivor
    return old, survivor


async def test_a_merged_guid_returns_its_survivor(api: Reader) -> None:
    old, survivor = await merge_profiles(api)
    found = await api.get_json(f"/profile/{old}")
    assert (found["profile"]["guid"], found["mergedFrom"]) == (survivor, old)
    assert found["profile"] == (await api.get_json(f"/profile/{survivor}"))["profile"]
    assert [item["guid"] for item in await api.get_all("/profiles", "profiles")] == [survivor]


async def test_a_merged_guid_follows_a_later_move_of_its_anonymous_id(
    api: Reader,
) -> None:
    old, _ = await merge_profiles(api)
    earlier = event("bob", "phone", at=-5)
    await api.store(earlier)
    found = await api.get_json(f"/profile/{old}")
    assert found["profile"]["guid"] == await api.profile_of(earlier)
    assert found["mergedFrom"] == old


async def test_the_timeline_has_the_events_of_merged_profiles(api: Reader) -> None:
    old, survivor = await merge_profiles(api)
    await api.store(event("bob", at=5), event("ann", kind="buy", at=6, sku="mug"))
    for guid in (old, survivor):
        path = f"/profile/{guid}/events"
        timeline = await api.get_all(path, "events", limit=2)
        assert [item["userId"] for item in timeline] == ["ann", "ann", None, "ann"]
        assert {item["profileGuid"] for item in timeline} == {survivor}
        (bought,) = await api.get_all(path, "events", type="buy", dataKey="sku")
        assert bought["data"] == {"sku": "mug"}
        assert len(await api.get_all(path, "events", since="2026-03-01T12:00:02Z")) == 2


async def test_merges_are_listed_newest_first(api: Reader) -> None:
    old, survivor = await merge_profiles(api)
    for n in range(4):
        await api.store(event(anonymous=f"device {n}"))
        await api.store(event("ann", f"device {n}"))
    path = f"/profile/{old}/merges"
    pages = await api.pages(path, "merges", limit=2)
    assert [len(page) for page in pages] == [2, 2, 1]
    merges = [merge for page in pages for merge in page]
    assert [merge["anonymousId"] for merge in merges] == [
        *("device 3", "device 2", "device 1", "device 0", "phone")
    ]
    last = merges[-1]
    assert (last["reason"], last["loserGuid"], last["survivorGuid"], last["userId"]) == (
        *("merged", old, survivor),
        "ann",
    )
    assert await api.get_all(f"/profile/{survivor}/merges", "merges") == merges


async def test_merges_of_the_same_time_are_listed_once_across_pages(api: Reader) -> None:
    devices = [f"device {n}" for n in range(7)]
    await api.store(*(event(anonymous=device) for device in devices))
    links = [event("ann", device) for device in devices]
    await api.store(*links)
    survivor = await api.profile_of(links[0])
    pages = await api.pages(f"/profile/{survivor}/merges", "merges", limit=3)
    assert [merge["anonymousId"] for page in pages for merge in page] == devices[::-1]


async def test_a_move_is_among_the_merges_of_both_profiles(api: Reader) -> None:
    link, earlier = event("ann", "phone", at=0), event("bob", "phone", at=-1)
    await api.store(link)
    await api.store(earlier)
    ann, bob = await api.profile_of(link), await api.profile_of(earlier)
    for guid in (ann, bob):
        (merge,) = await api.get_all(f"/profile/{guid}/merges", "merges")
        assert (merge["reason"], merge["loserGuid"], merge["survivorGuid"]) == ("moved", ann, bob)


async def test_an_explanation_has_merges_and_visitors(api: Reader) -> None:
    old, survivor = await merge_profiles(api)
    (explanation,) = (await api.get_json(f"/profile/{old}/explain"))["explanations"]
    assert (explanation["kind"], explanation["profile"]) == ("merged profile", survivor)
    assert "anonymous profile of phone" in explanation["because"]
    (explanation,) = (await api.get_json(f"/profile/{survivor}/explain"))["explanations"]
    assert (explanation["kind"], explanation["userId"], explanation["events"]) == (
        *("profile", "ann"),
        3,
    )
    assert [visitor["anonymousId"] for visitor in explanation["visitors"]] == ["phone"]


async def test_an_explanation_has_these_keys(api: Reader) -> None:
    """They are part of the public contract."""
    _, survivor = await merge_profiles(api)
    await api.store(event("bob", "phone", at=60))
    (explanation,) = (await api.get_json(f"/profile/{survivor}/explain"))["explanations"]
    assert list(explanation) == [
        *("id", "kind", "because", "profile", "userId", "events"),
        *("visitors", "merges", "refused", "moving"),
    ]
    assert list(explanation["visitors"][0]) == [
        *("anonymousId", "profile", "owner", "linkEvent", "linkedAt")
    ]
    assert list(explanation["merges"][0]) == [
        *("reason", "anonymousId", "loser", "survivor", "linkEvent", "at")
    ]
    assert list(explanation["refused"][0]) == ["event", "anonymousId", "userId", "owner"]
    assert explanation["moving"] == []


async def test_a_cursor_of_another_list_is_refused(api: Reader) -> None:
    await api.store(*(event(anonymous=f"visitor {n}") for n in range(3)))
    cursor = (await api.get_json("/profiles", limit=1))["nextCursor"]
    status, error = await api.get_error("/events", cursor=cursor)
    assert (status, error["code"]) == (400, "malformed")
    visit = (await api.get_json("/events", limit=1))["events"][0]
    path = f"/profile/{visit['profileGuid']}/merges"
    assert (await api.get_error(path, cursor=cursor))[0] == 400
