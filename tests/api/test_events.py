"""GET /events and /event/{guid}: filters, pages, and the fields of an event."""

from random import Random
from typing import Any

import pytest

from merganser.queries import events
from schemas.event import Event
from tests.api.reader import SCAN, Reader, reading
from tests.support.database import Database
from tests.support.events import NOON, event


def guids(events: list[Any]) -> list[str]:
    return [item["guid"] for item in events]


def newest_first(events: list[Event]) -> list[str]:
    return guids(sorted(events, key=lambda item: (item["occurredAt"], item["guid"]), reverse=True))


async def test_an_event_has_all_its_fields(api: Reader) -> None:
    purchase = event("123", "person_1", "purchase", 0.25, price="0.10", items='["a",1]')
    await api.store(purchase)
    updated = (await api.get_json("/events"))["events"][0]["updatedAt"]
    expected = {
        **purchase,
        "createdAt": "2026-03-01T12:00:00.000000Z",
        "occurredAt": "2026-03-01T12:00:00.250000Z",
        "updatedAt": updated,
        "profileGuid": await api.profile_of(purchase),
        "producerKind": None,
        "moreData": False,
    }
    assert await api.get_json("/events") == {"events": [expected], "nextCursor": None}
    assert await api.get_json(f"/event/{purchase['guid']}") == {"event": expected}


async def test_an_unknown_event_is_not_found(api: Reader) -> None:
    status, error = await api.get_error("/event/evt_none")
    assert (status, error["code"]) == (404, "not_found")


async def test_the_last_row_of_a_repeated_data_key_counts(api: Reader) -> None:
    twice = event("123")
    await api.store(twice)
    for value in ("first", "last"):
        await api.database.execute(
            'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, \'key\', %s)',
            twice["guid"],
            value,
        )
    assert (await api.get_json(f"/event/{twice['guid']}"))["event"]["data"] == {"key": "last"}


def random_events(random: Random, count: int = 100) -> list[Event]:
    """Return events of few times, types and people, so that combinations and ties are frequent."""
    return [
        event(
            random.choice([None, "ann", "bob"]),
            random.choice(["phone", "laptop", "tablet"]),
            random.choice(["view", "buy"]),
            random.choice([0, 0, 0, 1, 2.5, 100]),
            **random.choice([{}, {"path": "/"}, {"path": "/mugs"}, {"price": "1"}]),
        )
        for _ in range(count)
    ]


def matches(item: Event, query: dict[str, Any], profiles: dict[str, str]) -> bool:
    return (
        query.get("type") in {None, item["type"]}
        and query.get("userId") in {None, item["userId"]}
        and query.get("anonymousId") in {None, item["anonymousId"]}
        and query.get("profileGuid") in {None, profiles[item["guid"]]}
        and ("dataKey" not in query or query["dataKey"] in item["data"])
        and query.get("dataValue") in {None, item["data"].get(query.get("dataKey", ""))}
        and ("since" not in query or query["since"] <= item["occurredAt"].isoformat())
        and ("until" not in query or query["until"] > item["occurredAt"].isoformat())
        and query.get("associated") in {None, "true"}
    )


async def test_random_filters_find_exactly_the_matching_events(
    database: Database,
) -> None:
    """Also with scan limits that ties, rare values and frequent visitors exceed."""
    random = Random(4)
    found_any = 0
    for scan in (SCAN, 40, 7, 1):
        async with reading(database, scan) as api:
            if scan == SCAN:
                events = random_events(random)
                await api.store(*events)
                profiles = dict(await database.rows('SELECT guid, "profileGuid" FROM events'))
            for _ in range(15):
                possible = {
                    "type": random.choice(["view", "buy", "none"]),
                    "userId": random.choice(["ann", "bob", "nobody"]),
                    "anonymousId": random.choice(["phone", "laptop", "none"]),
                    "profileGuid": random.choice(list(profiles.values())),
                    "dataKey": random.choice(["path", "price", "none"]),
                    "since": (NOON.replace(second=random.choice([0, 1, 2]))).isoformat(),
                    "until": (NOON.replace(second=random.choice([1, 3]))).isoformat(),
                    "associated": "true",
                }
                query = {name: possible[name] for name in random.sample(sorted(possible), 2)}
                if "dataKey" in query and random.random() < 0.7:
                    query["dataValue"] = random.choice(["/", "/mugs", "1"])
                limit = random.choice([1, 2, 50, 1000])
                pages = await api.pages("/events", "events", **query, limit=limit)
                assert all(len(page) <= limit for page in pages)
                found = [item for page in pages for item in page]
                expected = [item for item in events if matches(item, query, profiles)]
                assert guids(found) == newest_first(expected), (scan, limit, query)
                found_any += bool(found)
    assert found_any > 20


async def test_events_of_the_same_time_are_ordered_by_guid_across_pages(api: Reader) -> None:
    ties = [event("ann", kind="tie") for _ in range(10)]
    await api.store(*ties, event("ann", at=-1), event("ann", at=1))
    pages = await api.pages("/events", "events", limit=3)
    assert [len(page) for page in pages] == [3, 3, 3, 3]
    assert guids(pages[1]) == guids(ties[::-1])[2:5]


async def test_events_stored_between_pages_do_not_change_the_rest(api: Reader) -> None:
    old = [event("ann", at=at) for at in (0, 0, 1, 1, 2, 2)]
    await api.store(*old)
    first = await api.get_json("/events", limit=3)
    newer, tie, older = event("ann", at=3), event("ann", at=1), event("ann", at=-1)
    await api.store(newer, tie, older)
    rest = await api.get_all("/events", "events", limit=3, cursor=first["nextCursor"])
    assert guids(first["events"]) == newest_first(old)[:3]
    # `tie` sorts before the end of the first page by guid, so only a new listing has it.
    assert guids(rest) == [*newest_first(old)[3:], older["guid"]]


async def test_deleting_the_last_event_of_a_page_keeps_the_cursor_valid(api: Reader) -> None:
    events = [event("ann", at=at) for at in range(6)]
    await api.store(*events)
    first = await api.get_json("/events", limit=2)
    await api.request("DELETE", f"/api/v1/event/{first['events'][-1]['guid']}")
    rest = await api.get_all("/events", "events", limit=2, cursor=first["nextCursor"])
    assert guids(rest) == newest_first(events)[2:]


async def test_events_without_a_profile_are_listed_by_creation_time(api: Reader) -> None:
    placed, waiting = event("ann"), event("ann", kind="waiting", at=5)
    await api.store(placed)
    await api.insert_unresolved(waiting)
    await api.database.execute(
        "INSERT INTO events (guid, type, \"userId\") VALUES ('evt_row', 'waiting', 'ann')"
    )
    for n in range(3):
        await api.database.execute(
            'INSERT INTO events (guid, type, "createdAt") VALUES (%s, %s, %s)',
            f"evt_old{n}",
            "old",
            NOON.replace(year=2020),
        )
    assert guids(await api.get_all("/events", "events", associated="false", limit=2)) == [
        *("evt_row", waiting["guid"]),
        *("evt_old2", "evt_old1", "evt_old0"),
    ]
    assert guids(
        await api.get_all("/events", "events", associated="false", type="waiting", limit=1)
    ) == ["evt_row", waiting["guid"]]
    assert guids(
        await api.get_all(
            "/events", "events", associated="false", since="2026-03-01T12:00:05Z", limit=1
        )
    ) == ["evt_row", waiting["guid"]]
    assert guids(
        await api.get_all("/events", "events", associated="false", until="2021-01-01", limit=2)
    ) == ["evt_old2", "evt_old1", "evt_old0"]
    assert guids(await api.get_all("/events", "events", associated="true")) == [placed["guid"]]
    # The unresolved event has an occurredAt, so it is among the others.
    assert guids(await api.get_all("/events", "events")) == [waiting["guid"], placed["guid"]]


async def test_a_page_without_a_match_is_empty_and_has_a_cursor(database: Database) -> None:
    async with reading(database, scan=10) as api:
        wanted = event("ann", at=-1, coupon="x")
        await api.store(wanted, *(event("ann", at=at) for at in range(30)))
        pages = await api.pages("/events", "events", dataKey="coupon")
        assert [len(page) for page in pages] == [0, 0, 0, 1]


async def test_a_merged_guid_lists_the_events_of_its_survivor(api: Reader) -> None:
    visit = event(anonymous="phone")
    await api.store(event("ann", at=-10), visit)
    old = await api.profile_of(visit)
    link = event("ann", "phone", at=10)
    await api.store(link)
    await api.database.execute(
        'UPDATE events SET "profileGuid" = %s WHERE guid = %s',
        await api.profile_of(link),
        visit["guid"],
    )
    assert len(await api.get_all("/events", "events", profileGuid=old)) == 3
    assert await api.get_all("/events", "events", profileGuid="pro_none") == []


async def test_an_empty_parameter_filters(api: Reader) -> None:
    await api.store(event("ann"))
    assert await api.get_all("/events", "events", type="") == []


async def test_a_page_ends_before_its_data_is_too_large(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_PAGE_BYTES", 10)
    sizes = [4, 4, 0, 4, 0, 4, 400, 0, 4, 4, 4]
    written = [
        event("ann", kind=f"{n:02}", at=-n, **({"key": "x" * (size - 3)} if size else {}))
        for n, size in enumerate(sizes)
    ]
    await api.store(*written)
    pages = await api.pages("/events", "events")
    assert [len(page) for page in pages] == [5, 3, 3]
    assert guids([item for page in pages for item in page]) == guids(written)
    assert pages[1][1]["data"] == {"key": "x" * 397}
    large = await api.get_json(f"/event/{written[6]['guid']}")
    assert large["event"]["data"] == {"key": "x" * 397}

    pages = await api.pages("/events/types", "types")
    assert [len(page) for page in pages] == [5, 3, 3]
    assert [item["type"] for page in pages for item in page] == [item["type"] for item in written]


async def test_an_event_of_the_last_representable_time_is_listed(api: Reader) -> None:
    for guid, profile in {"evt_placed": "pro_1", "evt_waiting": None}.items():
        await api.database.execute(
            'INSERT INTO events (guid, type, "profileGuid", "occurredAt") '
            "VALUES (%s, 'end', %s, '9999-12-31 23:59:59.999999Z')",
            guid,
            profile,
        )
    assert guids(await api.get_all("/events", "events")) == ["evt_waiting", "evt_placed"]
    assert guids(await api.get_all("/events", "events", associated="false")) == ["evt_waiting"]


async def test_a_time_can_have_a_zone_or_be_a_day(api: Reader) -> None:
    await api.store(event("ann"), event("ann", at=3600))
    for since, count in {
        "2026-03-01": 2,
        "2026-03-01T12:00:01": 1,
        "2026-03-01T13:00:00z": 1,
        "2026-03-01T14:00:00+02:00": 2,
        "0001-01-01T00:00:00+23:00": 2,
        "9999-12-31T23:59:59-23:00": 0,
    }.items():
        assert len(await api.get_all("/events", "events", since=since)) == count, since
