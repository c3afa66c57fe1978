"""An event arrives again with another id, and the guid of its new profile is taken."""

import pytest

from merganser.identity.plan import EventIds
from tests.identity.test_trail import at, explain, find_disagreements, read_profiles, resolve
from tests.support.database import Database

FIRST = EventIds("evt_first", at(1), "ann", None)
OTHERS = [EventIds(f"evt_other_{n}", at(n), f"user {n}", f"device {n}") for n in range(5)]


async def delete_event(database: Database, guid: str) -> None:
    """Delete an event as `merganser prune` does: it is not among the deleted events."""
    await database.execute("SET merganser.remember_deleted_since = 'infinity'")
    await database.execute("DELETE FROM events WHERE guid = %s", guid)


@pytest.mark.parametrize(
    "repeated",
    [
        EventIds("evt_first", at(1), "bob", None),
        EventIds("evt_first", at(1), None, "phone"),
        EventIds("evt_first", at(1), "bob", "phone"),
    ],
)
async def test_an_event_that_returns_with_another_id_gets_a_new_profile(
    database: Database, repeated: EventIds
) -> None:
    await resolve(database, FIRST, EventIds("evt_second", at(2), "ann", None))
    await delete_event(database, "evt_first")
    # Events of the existing profile in the same batch stay on it.
    await resolve(database, repeated, EventIds("evt_third", at(3), "ann", None), *OTHERS)
    placed = await read_profiles(database)
    assert placed["evt_third"] == placed["evt_second"] == "pro_first"
    assert len({placed["evt_first"], "pro_first", *(placed[o.guid] for o in OTHERS)}) == 7
    assert placed["evt_first"].startswith("pro_")
    assert await find_disagreements(database) == []


async def test_a_new_profile_does_not_take_the_guid_of_a_merged_profile(database: Database) -> None:
    """The guid leads to the profile that it merged into, not to the new profile."""
    await resolve(
        database,
        EventIds("evt_ann", at(0), "ann", None),
        EventIds("evt_view", at(1), None, "phone"),
    )
    await resolve(database, EventIds("evt_link", at(2), "ann", "phone"))
    await delete_event(database, "evt_view")
    await resolve(database, EventIds("evt_view", at(1), "bob", None))
    placed = await read_profiles(database)
    assert placed["evt_view"] not in {"pro_view", placed["evt_ann"]}
    (explanation,) = await explain(database, "pro_view")
    assert explanation["profile"] == await database.profile_of("ann")
    assert await find_disagreements(database) == []


async def test_a_new_profile_does_not_take_the_guid_of_a_profile_in_erasure(
    database: Database,
) -> None:
    """With that guid, the new profile would get the forgotten events."""
    await resolve(database, FIRST, EventIds("evt_second", at(2), "ann", None))
    await delete_event(database, "evt_first")
    await database.execute("""
        WITH entry AS (
            INSERT INTO "erasureLedger" ("profileGuid", "requestedBy", reason, suppresses)
            VALUES ('pro_first', 'me', 'why', 'all') RETURNING guid
        )
        INSERT INTO erasures ("profileGuid", "ledgerGuid") SELECT 'pro_first', guid FROM entry
    """)
    await database.execute("""DELETE FROM profiles WHERE guid = 'pro_first'""")
    await resolve(database, EventIds("evt_first", at(1), "bob", None))
    assert (await read_profiles(database))["evt_first"] != "pro_first"


@pytest.mark.parametrize(("before", "after"), [("ann", "bob"), ("bob", "ann")])
async def test_a_corrected_link_moves_the_anonymous_id(
    database: Database, before: str, after: str
) -> None:
    """Each correction of the row moves the anonymousId to the other user."""
    await resolve(database, EventIds("evt_view", at(1), None, "phone"))
    await resolve(database, EventIds("evt_link", at(2), before, "phone"))
    for user in (after, before, after):
        await delete_event(database, "evt_link")
        await resolve(database, EventIds("evt_link", at(2), user, "phone"))
        placed = await read_profiles(database)
        assert placed["evt_view"] == placed["evt_link"] == await database.profile_of(user)
        assert await find_disagreements(database) == []
    trail = 'SELECT "userId", reason FROM "profileMerges" ORDER BY "createdAt"'
    assert await database.rows(trail) == [
        (before, "claimed"),
        (after, "moved"),
        (before, "moved"),
        (after, "moved"),
    ]
