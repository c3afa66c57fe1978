"""GET /events/types, /events/autocompleteType and /events/counts."""

from datetime import UTC, datetime, timedelta

import pytest

from api import types
from merganser.queries.parameters import Bucket, CountQuery
from tests.api.reader import Reader
from tests.support.events import event

HOUR = 3600


async def test_types_are_listed_with_their_first_and_last_event(api: Reader) -> None:
    views = [event("ann", kind="view", at=at, n=str(at)) for at in (5, 1, 9)]
    buy = event("bob", kind="buy")
    await api.store(*views, buy)
    first, second = await api.get_all("/events/types", "types", limit=1)
    assert (first["type"], first["count"], first["moreThanCount"]) == ("buy", 1, False)
    assert first["example"] == (await api.get_json(f"/event/{buy['guid']}"))["event"]
    assert second == {
        "type": "view",
        "count": 3,
        "moreThanCount": False,
        "firstOccurredAt": "2026-03-01T12:00:01.000000Z",
        "lastOccurredAt": "2026-03-01T12:00:09.000000Z",
        "example": (await api.get_json(f"/event/{views[2]['guid']}"))["event"],
    }


async def test_a_type_without_resolved_events_has_no_times(api: Reader) -> None:
    await api.database.execute("INSERT INTO events (guid, type) VALUES ('evt_row', 'waiting')")
    (found,) = await api.get_all("/events/types", "types")
    assert (found["firstOccurredAt"], found["lastOccurredAt"]) == (None, None)
    assert found["example"]["guid"] == "evt_row"


async def test_a_type_is_counted_up_to_a_limit(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "MAX_COUNTED_EVENTS", 2)
    await api.store(*(event("ann", kind="view") for _ in range(3)))
    (found,) = await api.get_all("/events/types", "types")
    assert (found["count"], found["moreThanCount"]) == (2, True)


async def test_autocomplete_finds_types_that_contain_a_text(api: Reader) -> None:
    await api.store(*(event("ann", kind=kind) for kind in ("Page View", "page_50%", "buy")))
    for match, expected in {
        "PAGE": ["Page View", "page_50%"],
        "%": ["page_50%"],
        "_": ["page_50%"],
        "none": [],
    }.items():
        found = await api.get_json("/events/autocompleteType", match=match)
        assert (sorted(found["types"]), found["more"]) == (expected, False), match
    assert len((await api.get_json("/events/autocompleteType"))["types"]) == 3


async def test_a_search_ignores_the_case_of_any_script(api: Reader) -> None:
    await api.store(event("ann", kind="Übung ÉLAN"), event("ann", kind="Яблоко"))
    for match, expected in {
        "übung": "Übung ÉLAN",
        "élan": "Übung ÉLAN",
        "ЯБЛОКО": "Яблоко",
    }.items():
        found = await api.get_json("/events/autocompleteType", match=match)
        assert found["types"] == [expected], match


async def test_types_are_in_the_order_of_their_bytes(api: Reader) -> None:
    kinds = ["Zoo", "_a", "a b", "ab", "zoo", "Ähre"]
    await api.store(*(event("ann", kind=kind) for kind in reversed(kinds)))
    found = await api.get_all("/events/types", "types", limit=2)
    assert [item["type"] for item in found] == kinds
    counts = await api.get_json("/events/counts", since="2026-03-01", until="2026-03-02")
    assert [item["type"] for item in counts["types"]] == kinds


async def test_a_search_for_types_is_limited(api: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.store(*(event("ann", kind=f"kind {n:02}") for n in range(40)))
    found = await api.get_json("/events/autocompleteType", match="kind")
    assert (len(found["types"]), found["more"]) == (types.MAX_SEARCH_RESULTS, True)
    monkeypatch.setattr(types, "MAX_SEARCHED_TYPES", 30)
    assert await api.get_json("/events/autocompleteType", match="kind 35") == {
        "types": [],
        "more": True,
    }
    # The search stopped after its last type, so there may be more.
    assert await api.get_json("/events/autocompleteType", match="kind 29") == {
        "types": ["kind 29"],
        "more": True,
    }


async def test_a_cursor_after_the_longest_type_is_valid(api: Reader) -> None:
    kinds = sorted(character * 512 for character in ("\x01", '"', "\U0001f986", "\U0001f9a2"))
    await api.store(*(event("ann", kind=kind) for kind in kinds))
    found = await api.get_all("/events/types", "types", limit=1)
    assert sorted(item["type"] for item in found) == kinds


@pytest.mark.parametrize(
    ("bucket", "buckets"),
    [
        ("minute", {"2026-03-01T12:00": 2, "2026-03-01T12:01": 1, "2026-03-02T00:00": 1}),
        ("hour", {"2026-03-01T12:00": 3, "2026-03-02T00:00": 1}),
        ("day", {"2026-03-01T00:00": 3, "2026-03-02T00:00": 1}),
        # The first of March 2026 is a Sunday.
        ("week", {"2026-02-23T00:00": 3, "2026-03-02T00:00": 1}),
        ("month", {"2026-03-01T00:00": 4}),
    ],
)
async def test_events_are_counted_by_bucket(
    api: Reader, bucket: str, buckets: dict[str, int]
) -> None:
    await api.store(
        *(event("ann", kind="view", at=at) for at in (0, 59.9, 60, 12 * HOUR)), event("ann")
    )
    found = await api.get_json(
        "/events/counts",
        bucket=bucket,
        since="2026-03-01T12:00",
        until="2026-03-02T04:00",
        type="view",
    )
    assert found == {
        "from": "2026-03-01T12:00:00.000000Z",
        "to": "2026-03-02T04:00:00.000000Z",
        "bucket": bucket,
        "types": [
            {
                "type": "view",
                "count": 4,
                "buckets": [
                    {"at": f"{at}:00.000000Z", "count": count} for at, count in buckets.items()
                ],
            }
        ],
        "moreTypes": False,
    }


async def test_counts_include_from_and_exclude_to(api: Reader) -> None:
    await api.store(*(event("ann", at=at) for at in (-1, 0, 9, 10)))
    found = await api.get_json(
        "/events/counts", since="2026-03-01T12:00:00Z", until="2026-03-01T12:00:10Z"
    )
    assert [item["count"] for item in found["types"]] == [2]


async def test_counts_are_of_the_last_days_by_default(api: Reader) -> None:
    await api.store(event("ann"))
    await api.database.execute(
        "UPDATE events SET \"occurredAt\" = date_trunc('day', now()) - interval '30 days'"
    )
    found = await api.get_json("/events/counts")
    assert [item["count"] for item in found["types"]] == [1]
    assert found["from"].endswith("T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("bucket", "since", "until"),
    [
        ("minute", "2028-02-29T23:29", "2028-03-01T00:00"),
        ("hour", "2028-02-28T17:00", "2028-03-01T00:00"),
        ("day", "2028-01-30T00:00", "2028-03-01T00:00"),
        ("week", "2027-08-02T00:00", "2028-03-06T00:00"),
        ("month", "2025-11-01T00:00", "2028-03-01T00:00"),
    ],
)
async def test_the_default_range_changes_only_with_the_bucket(
    bucket: Bucket, since: str, until: str
) -> None:
    """Otherwise each response would have another ETag."""
    now = datetime(2028, 2, 29, 23, 59, 30, 5, tzinfo=UTC)
    expected = tuple(datetime.fromisoformat(text + "Z") for text in (since, until))
    assert types.time_range(CountQuery(bucket=bucket), now) == expected
    later = expected[1] - timedelta(microseconds=1)
    assert types.time_range(CountQuery(bucket=bucket), later)[1] == expected[1]
    assert types.time_range(CountQuery(bucket=bucket), expected[1])[1] > expected[1]


async def test_counts_are_limited_to_a_number_of_types(
    api: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "MAX_COUNTED_TYPES", 2)
    await api.store(*(event("ann", kind=kind) for kind in "abc"))
    query = {"since": "2026-03-01", "until": "2026-03-02"}
    found = await api.get_json("/events/counts", **query)
    assert ([item["type"] for item in found["types"]], found["moreTypes"]) == (["a", "b"], True)
    found = await api.get_json("/events/counts", type="c", **query)
    assert ([item["type"] for item in found["types"]], found["moreTypes"]) == (["c"], False)
