"""An event that comes again with another id: its guid names a profile that is taken already."""

import pytest

from merganser.identity.plan import EventIds
from tests.identity.test_trail import at, disagreements, explained, profiles, resolve
from tests.support.database import Database

FIRST = EventIds("evt_first", at(1), "ann", None)
OTHERS = [EventIds(f"evt_other_{n}", at(n), f"user {n}", f"device {n}") for n in range(5)]


async def gone(database: Database, guid: str) -> None:
    """Delete an event as `merganser prune` does: nothing remembers it."""
    await database.execute("SET merganser.remember_deleted_since = 'infinity'")
    await database.execute("DELETE FROM events WHERE guid = %s", guid)


@pytest.mark.parametrize(
    "again",
    [
        EventIds("evt_first", at(1), "bob", None),
        EventIds("evt_first", at(1), None, "phone"),
        EventIds("evt_first", at(1), "bob", "phone"),
    ],
)
async def test_with_another_id(database: Database, again: EventIds) -> None:
    await resolve(database, FIRST, EventIds("evt_second", at(2), "ann", None))
    await gone(database, "evt_first")
    # The taken profile has events of its own in the same batch: they stay there.
    await resolve(database, again, EventIds("evt_third", at(3), "ann", None), *OTHERS)
    placed = await profiles(database)
    assert placed["evt_third"] == placed["evt_second"] == "pro_first"
    assert len({placed["evt_first"], "pro_first", *(placed[o.guid] for o in OTHERS)}) == 7
    assert placed["evt_first"].startswith("pro_")
    assert await disagreements(database) == []


async def test_when_the_visitor_of_that_guid_has_merged(database: Database) -> None:
    """The old guid leads to the user it merged into, not to the person who comes now."""
    await resolve(
        database,
        EventIds("evt_ann", at(0), "ann", None),
        EventIds("evt_view", at(1), None, "phone"),
    )
    await resolve(database, EventIds("evt_link", at(2), "ann", "phone"))
    await gone(database, "evt_view")
    await resolve(database, EventIds("evt_view", at(1), "bob", None))
    placed = await profiles(database)
    assert placed["evt_view"] not in {"pro_view", placed["evt_ann"]}
    (explanation,) = await explained(database, "pro_view")
    assert explanation["profile"] == await database.profile_of("ann")
    assert await disagreements(database) == []


async def test_when_the_person_of_that_guid_is_forgotten_and_events_still_go(
    database: Database,
) -> None:
    """Else the erasure would wait for ever, and the new person would have the old one's events."""
    await resolve(database, FIRST, EventIds("evt_second", at(2), "ann", None))
    await gone(database, "evt_first")
    await database.execute("""INSERT INTO erasures VALUES ('pro_first')""")
    await database.execute("""DELETE FROM profiles WHERE guid = 'pro_first'""")
    await resolve(database, EventIds("evt_first", at(1), "bob", None))
    assert (await profiles(database))["evt_first"] != "pro_first"


@pytest.mark.parametrize(("before", "after"), [("ann", "bob"), ("bob", "ann")])
async def test_a_link_that_another_system_corrects(
    database: Database, before: str, after: str
) -> None:
    """The visitor goes over to the other user, and back, however often the row is corrected."""
    await resolve(database, EventIds("evt_view", at(1), None, "phone"))
    await resolve(database, EventIds("evt_link", at(2), before, "phone"))
    for user in (after, before, after):
        await gone(database, "evt_link")
        await resolve(database, EventIds("evt_link", at(2), user, "phone"))
        placed = await profiles(database)
        assert placed["evt_view"] == placed["evt_link"] == await database.profile_of(user)
        assert await disagreements(database) == []
    trail = 'SELECT "userId", reason FROM "profileMerges" ORDER BY "createdAt"'
    assert await database.rows(trail) == [
        (before, "claimed"),
        (after, "moved"),
        (before, "moved"),
        (after, "moved"),
    ]
