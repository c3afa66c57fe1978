"""GET /events and /event/{guid}: filters, pages, and what an event looks like."""

from random import Random
from typing import Any

import pytest

from api import events
from schemas.event import Event
from tests.api.reader import SCAN, Reader, reading
from tests.support.database import Database
from tests.support.events import NOON, event


def guids(events: list[Any]) -> list[str]:
    return [one["guid"] for one in events]


def newest_first(events: list[Event]) -> list[str]:
    return guids(sorted(events, key=lambda one: (one["occurredAt"], one["guid"]), reverse=True))


async def test_an_event_with_all_that_it_has(api: Reader) -> None:
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


async def test_no_such_event(api: Reader) -> None:
    status, error = await api.get_error("/event/evt_none")
    assert (status, error["code"]) == (404, "not_found")


async def test_of_a_key_that_is_there_twice_the_last_row_counts(api: Reader) -> None:
    twice = event("123")
    await api.store(twice)
    for value in ("first", "last"):
        await api.database.execute(
            'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, \'key\', %s)',
            twice["guid"],
            value,
        )
    assert (await api.get_json(f"/event/{twice['guid']}"))["event"]["data"] == {"key": "last"}


def some_events(random: Random, count: int = 100) -> list[Event]:
    """Few moments, types and people, so that everything occurs together and ties abound."""
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


def matches(one: Event, query: dict[str, Any], profiles: dict[str, str]) -> bool:
    return (
        query.get("type") in {None, one["type"]}
        and query.get("userId") in {None, one["userId"]}
        and query.get("anonymousId") in {None, one["anonymousId"]}
        and query.get("profileGuid") in {None, profiles[one["guid"]]}
        and ("dataKey" not in query or query["dataKey"] in one["data"])
        and query.get("dataValue") in {None, one["data"].get(query.get("dataKey", ""))}
        and ("since" not in query or query["since"] <= one["occurredAt"].isoformat())
        and ("until" not in query or query["until"] > one["occurredAt"].isoformat())
        and query.get("associated") in {None, "true"}
    )


async def test_any_filters_on_any_pages_find_what_matches_and_nothing_else(
    database: Database,
) -> None:
    """With bounds so low that ties, rare values and frequent visitors exceed them."""
    random = Random(4)
    found_any = 0
    for scan in (SCAN, 40, 7, 1):
        async with reading(database, scan) as api:
            if scan == SCAN:
                events = some_events(random)
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
                found = [one for page in pages for one in page]
                expected = [one for one in events if matches(one, query, profiles)]
                assert guids(found) == newest_first(expected), (scan, limit, query)
                found_any += bool(found)
    assert found_any > 20


async def test_ties_are_ordered_by_guid_and_cross_pages(api: Reader) -> None:
    ties = [event("ann", kind="tie") for _ in range(10)]
    await api.store(*ties, event("ann", at=-1), event("ann", at=1))
    pages = await api.pages("/events", "events", limit=3)
    assert [len(page) for page in pages] == [3, 3, 3, 3]
    assert guids(pages[1]) == guids(ties[::-1])[2:5]


async def test_what_comes_between_pages_neither_repeats_nor_hides_anything(api: Reader) -> None:
    old = [event("ann", at=at) for at in (0, 0, 1, 1, 2, 2)]
    await api.store(*old)
    first = await api.get_json("/events", limit=3)
    newer, tie, older = event("ann", at=3), event("ann", at=1), event("ann", at=-1)
    await api.store(newer, tie, older)
    rest = await api.get_all("/events", "events", limit=3, cursor=first["nextCursor"])
    assert guids(first["events"]) == newest_first(old)[:3]
    # `tie` is before the page's end by guid, so it is on the first page of a new listing.
    assert guids(rest) == [*newest_first(old)[3:], older["guid"]]


async def test_a_deleted_event_does_not_end_the_pages(api: Reader) -> None:
    events = [event("ann", at=at) for at in range(6)]
    await api.store(*events)
    first = await api.get_json("/events", limit=2)
    await api.request("DELETE", f"/api/v1/event/{first['events'][-1]['guid']}")
    rest = await api.get_all("/events", "events", limit=2, cursor=first["nextCursor"])
    assert guids(rest) == newest_first(events)[2:]


async def test_events_on_no_profile_come_by_the_time_they_were_made(api: Reader) -> None:
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
    # It says when it occurred, so it has a place among the others.
    assert guids(await api.get_all("/events", "events")) == [waiting["guid"], placed["guid"]]


async def test_a_page_that_passes_many_may_be_empty_and_leads_on(database: Database) -> None:
    async with reading(database, scan=10) as api:
        wanted = event("ann", at=-1, coupon="x")
        await api.store(wanted, *(event("ann", at=at) for at in range(30)))
        pages = await api.pages("/events", "events", dataKey="coupon")
        assert [len(page) for page in pages] == [0, 0, 0, 1]


async def test_the_events_of_a_merged_profile_are_the_survivor_s(api: Reader) -> None:
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


async def test_an_empty_parameter_is_one(api: Reader) -> None:
    await api.store(event("ann"))
    assert await api.get_all("/events", "events", type="") == []


async def test_a_page_ends_where_its_data_would_be_too_large(
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
    assert guids([one for page in pages for one in page]) == guids(written)
    assert pages[1][1]["data"] == {"key": "x" * 397}
    large = await api.get_json(f"/event/{written[6]['guid']}")
    assert large["event"]["data"] == {"key": "x" * 397}

    pages = await api.pages("/events/types", "types")
    assert [len(page) for page in pages] == [5, 3, 3]
    assert [one["type"] for page in pages for one in page] == [one["type"] for one in written]


async def test_an_event_at_the_end_of_all_time(api: Reader) -> None:
    for guid, profile in {"evt_placed": "pro_1", "evt_waiting": None}.items():
        await api.database.execute(
            'INSERT INTO events (guid, type, "profileGuid", "occurredAt") '
            "VALUES (%s, 'end', %s, '9999-12-31 23:59:59.999999Z')",
            guid,
            profile,
        )
    assert guids(await api.get_all("/events", "events")) == ["evt_waiting", "evt_placed"]
    assert guids(await api.get_all("/events", "events", associated="false")) == ["evt_waiting"]


async def test_times_may_have_a_zone_or_none_or_be_days(api: Reader) -> None:
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
