"""GET /profiles and /profile/{guid} with all that is below it."""

from typing import Any

import pytest

from api import profiles
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
"""Type of the rule, values as they are stored, and the property in the response."""


async def test_a_property_is_typed_as_its_rule_says(api: Reader) -> None:
    visit = event("ann")
    await api.store(visit)
    profile = await api.profile_of(visit)
    rules: list[dict[str, Any]] = [USER_ID]
    for n, (kind, values, _) in enumerate(TYPED):
        array = len(values) > 1
        source = {"type": "view", "column": "data.made"}
        aggregation = "all values" if array else "most recent"
        made = {"key": f"made{n}", "type": kind, "array": array}
        rules.append({**made, "events": {**source, "aggregation": aggregation}})
        for position, value in enumerate(values):
            await api.database.execute(
                'INSERT INTO "profileProperties" VALUES (%s, %s, %s, %s)',
                *(profile, f"made{n}", position, value),
            )
    await rule_store.apply_file(api.database.connection, RuleFile.model_validate({"rules": rules}))
    # As it is written: a parser of JSON might make one number of another.
    text = (await api.get(f"/profile/{profile}")).text
    for n, (*_, expected) in enumerate(TYPED):
        assert f'"made{n}":{expected}' in text


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


async def test_a_property_whose_rule_is_gone_is_text(api: Reader) -> None:
    visit = event("ann")
    await api.store(visit)
    profile = await api.profile_of(visit)
    await api.database.execute(
        "INSERT INTO \"profileProperties\" VALUES (%s, 'old', 0, '1')", profile
    )
    found = await api.get_json(f"/profile/{profile}")
    assert found["profile"]["properties"] == {"old": "1"}


async def test_a_profile_by_each_of_its_ids(api: Reader) -> None:
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


async def test_all_profiles_page_by_page(api: Reader) -> None:
    visits = [event(anonymous=f"visitor {n}") for n in range(7)]
    await api.store(*visits)
    expected = sorted([await api.profile_of(visit) for visit in visits])
    pages = await api.pages("/profiles", "profiles", limit=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one["guid"] for page in pages for one in page] == expected


async def test_profiles_by_a_property(api: Reader) -> None:
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
        return [one["guid"] for one in found]

    assert await by("plan", "free") == guids[:3]
    assert await by("plan", "fre") == []
    assert await by("tags", "b") == [guids[3]]
    assert await by("long", long) == [guids[3]]
    assert await by("other", "free") == []


async def test_anonymous_ids_are_listed_up_to_a_bound(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MAX_ANONYMOUS_IDS", 2)
    await api.store(*(event("ann", f"device {n}") for n in range(3)))
    (profile,) = await api.get_all("/profiles", "profiles")
    assert (len(profile["anonymousIds"]), profile["moreAnonymousIds"]) == (2, True)


async def test_a_page_ends_where_its_properties_would_be_too_large(
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
    found = [one for page in pages for one in page]
    assert [one["guid"] for one in found] == guids
    assert found[4]["properties"] == {"key": "x" * 99}
    pages = await api.pages("/profiles", "profiles", limit=1)
    assert [len(page) for page in pages] == [1] * 7


async def test_a_page_ends_where_its_anonymous_ids_would_be_too_large(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MAX_PAGE_BYTES", 10)
    await api.store(*(event(f"user {n}", f"visitor {n}") for n in range(7)))
    pages = await api.pages("/profiles", "profiles")
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    for page in pages:
        assert all(len(one["anonymousIds"]) == 1 for one in page)


async def merged(api: Reader) -> tuple[str, str]:
    """A profile that went, and its survivor."""
    visit = event(anonymous="phone", at=1)
    await api.store(event("ann", at=0), visit)
    old = await api.profile_of(visit)
    link = event("ann", "phone", at=2)
    await api.store(link)
    survivor = await api.profile_of(link)
    assert old != survivor
    return old, survivor


async def test_a_merged_guid_answers_with_its_survivor_and_says_so(api: Reader) -> None:
    old, survivor = await merged(api)
    found = await api.get_json(f"/profile/{old}")
    assert (found["profile"]["guid"], found["mergedFrom"]) == (survivor, old)
    assert found["profile"] == (await api.get_json(f"/profile/{survivor}"))["profile"]
    assert [one["guid"] for one in await api.get_all("/profiles", "profiles")] == [survivor]


async def test_a_merged_guid_leads_on_when_the_visitor_turns_out_to_be_another(
    api: Reader,
) -> None:
    old, _ = await merged(api)
    earlier = event("bob", "phone", at=-5)
    await api.store(earlier)
    found = await api.get_json(f"/profile/{old}")
    assert found["profile"]["guid"] == await api.profile_of(earlier)
    assert found["mergedFrom"] == old


async def test_the_timeline_of_a_profile(api: Reader) -> None:
    old, survivor = await merged(api)
    await api.store(event("bob", at=5), event("ann", kind="buy", at=6, sku="mug"))
    for guid in (old, survivor):
        path = f"/profile/{guid}/events"
        timeline = await api.get_all(path, "events", limit=2)
        assert [one["userId"] for one in timeline] == ["ann", "ann", None, "ann"]
        assert {one["profileGuid"] for one in timeline} == {survivor}
        (bought,) = await api.get_all(path, "events", type="buy", dataKey="sku")
        assert bought["data"] == {"sku": "mug"}
        assert len(await api.get_all(path, "events", since="2026-03-01T12:00:02Z")) == 2


async def test_merges_newest_first(api: Reader) -> None:
    old, survivor = await merged(api)
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


async def test_merges_of_one_moment_cross_pages(api: Reader) -> None:
    devices = [f"device {n}" for n in range(7)]
    await api.store(*(event(anonymous=device) for device in devices))
    links = [event("ann", device) for device in devices]
    await api.store(*links)
    survivor = await api.profile_of(links[0])
    pages = await api.pages(f"/profile/{survivor}/merges", "merges", limit=3)
    assert [merge["anonymousId"] for page in pages for merge in page] == devices[::-1]


async def test_what_left_a_profile_is_among_its_merges(api: Reader) -> None:
    """As is what came to it."""
    link, earlier = event("ann", "phone", at=0), event("bob", "phone", at=-1)
    await api.store(link)
    await api.store(earlier)
    ann, bob = await api.profile_of(link), await api.profile_of(earlier)
    for guid in (ann, bob):
        (merge,) = await api.get_all(f"/profile/{guid}/merges", "merges")
        assert (merge["reason"], merge["loserGuid"], merge["survivorGuid"]) == ("moved", ann, bob)


async def test_why_a_profile_is_what_it_is(api: Reader) -> None:
    old, survivor = await merged(api)
    (explanation,) = (await api.get_json(f"/profile/{old}/explain"))["explanations"]
    assert (explanation["kind"], explanation["profile"]) == ("merged profile", survivor)
    assert "anonymous profile of phone" in explanation["because"]
    (explanation,) = (await api.get_json(f"/profile/{survivor}/explain"))["explanations"]
    assert (explanation["kind"], explanation["userId"], explanation["events"]) == (
        *("profile", "ann"),
        3,
    )
    assert [visitor["anonymousId"] for visitor in explanation["visitors"]] == ["phone"]


async def test_the_keys_of_an_explanation_stay_the_same(api: Reader) -> None:
    """Clients read them."""
    _, survivor = await merged(api)
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


async def test_a_cursor_of_another_page(api: Reader) -> None:
    await api.store(*(event(anonymous=f"visitor {n}") for n in range(3)))
    cursor = (await api.get_json("/profiles", limit=1))["nextCursor"]
    status, error = await api.get_error("/events", cursor=cursor)
    assert (status, error["code"]) == (400, "malformed")
    visit = (await api.get_json("/events", limit=1))["events"][0]
    path = f"/profile/{visit['profileGuid']}/merges"
    assert (await api.get_error(path, cursor=cursor))[0] == 400
