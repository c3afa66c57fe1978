"""The workflow of the Grouparoo event system, end to end: HTTP, Kafka, profiles in Postgres."""

import asyncio
from typing import TYPE_CHECKING

from tests.support.system import System
from tests.support.waiting import equals, eventually

if TYPE_CHECKING:
    from tests.support.gateway import Gateway


async def await_resolved(system: System, count: int) -> None:
    await eventually(lambda: system.database.count("events"), equals(count))
    await eventually(system.database.unresolved, equals(0))


async def test_one_person_on_two_devices_gets_one_profile(system: System) -> None:
    """person_1 browses, signs in as 123 and uses a second device; a back end inserts a refund."""
    gateway, _, _ = await asyncio.gather(system.ingest(), system.resolver(), system.scanner())
    database = system.database

    # Two page views of an unknown visitor: an anonymous profile.
    for path in ("/", "/pricing"):
        await gateway.tracked(
            type="pageview",
            anonymousId="person_1",
            occurredAt="2026-03-01T12:00:00Z",
            data={"path": path, "utm_source": "google"},
        )
    await await_resolved(system, 2)
    ((anonymous, user_id),) = await database.rows('SELECT guid, "userId" FROM profiles')
    assert user_id is None

    # The sign-in: user 123 claims the profile.
    await gateway.tracked(
        type="sign-in", anonymousId="person_1", userId=123, occurredAt="2026-03-01T12:05:00Z"
    )
    await await_resolved(system, 3)
    assert await database.rows('SELECT guid, "userId" FROM profiles') == [(anonymous, "123")]
    assert await database.rows(
        'SELECT reason, "loserGuid", "survivorGuid", "userId" FROM "profileMerges"'
    ) == [("claimed", None, anonymous, "123")]

    # A second device, not signed in yet: another anonymous profile.
    await gateway.tracked(type="app-open", anonymousId="phone_1", occurredAt="2026-03-02T08:00:00Z")
    await await_resolved(system, 4)
    (second_profile,) = await database.column(
        "SELECT guid FROM profiles WHERE guid <> %s", anonymous
    )

    # The sign-in on it: that profile merges, its event moves and its row is deleted.
    link = await gateway.tracked(
        type="sign-in", anonymousId="phone_1", userId="123", occurredAt="2026-03-02T08:01:00Z"
    )
    await await_resolved(system, 5)
    assert await database.rows('SELECT guid, "userId" FROM profiles') == [(anonymous, "123")]
    assert await database.rows(
        'SELECT reason, "anonymousId", "eventGuid", "survivorGuid" FROM "profileMerges" '
        'WHERE "loserGuid" = %s',
        second_profile,
    ) == [("merged", "phone_1", link, anonymous)]

    # A back end inserts a row without a profile.
    await database.execute("""INSERT INTO events (type, "userId") VALUES ('refund', '123')""")
    await await_resolved(system, 6)

    timeline = await database.column(
        'SELECT type FROM events WHERE "profileGuid" = %s ORDER BY "occurredAt"', anonymous
    )
    assert timeline == ["pageview", "pageview", "sign-in", "app-open", "sign-in", "refund"]
    paths = await database.column("""SELECT value FROM "eventData" WHERE key = 'path'""")
    assert sorted(paths) == ["/", "/pricing"]


async def test_two_processes_of_each_kind_create_one_profile_per_person(system: System) -> None:
    """50 people, each on two devices and through two gateways, get 50 profiles."""
    gateways: list[Gateway] = [await system.ingest(), await system.ingest()]
    await asyncio.gather(
        *(system.resolver() for _ in range(2)), *(system.scanner() for _ in range(2))
    )

    async def send_events(person: int) -> None:
        for device in ("web", "phone"):
            visitor = f"{device}-{person}"
            first, second = gateways if device == "web" else reversed(gateways)
            await first.tracked(type=f"view-{person}", anonymousId=visitor)
            await second.tracked(type=f"sign-in-{person}", anonymousId=visitor, userId=person + 1)
            await first.tracked(type=f"late-{person}", anonymousId=visitor)
        await system.database.execute(
            'INSERT INTO events (type, "userId") VALUES (%s, %s)',
            f"refund-{person}",
            str(person + 1),
        )

    await asyncio.gather(*(send_events(person) for person in range(50)))
    await await_resolved(system, 50 * 7)
    await eventually(lambda: system.database.count("eventMoves"), equals(0))
    assert await system.database.grouping() == {
        frozenset(f"{kind}-{person}" for kind in ("view", "sign-in", "late", "refund"))
        for person in range(50)
    }
    assert await system.database.count("profiles") == 50
