"""Ignoring a link undoes its effect, and reversing that restores it, on real Postgres."""

from typing import Any

import pytest

from merganser.admin import unlink as admin
from merganser.admin.unlink import describe_change
from merganser.identity import forget
from merganser.identity.explain import explain
from merganser.identity.forget import Request
from merganser.identity.plan import EventIds
from merganser.identity.unlink import Direction, LinkChange, NotALink, Unlinker
from merganser.runtime.postgres import connect
from merganser.runtime.settings import Settings
from scanner.scan import SCAN_START, RowScanner
from schemas.ids import NOBODY
from tests.identity.test_trail import (
    PAGES,
    at,
    find_disagreements,
    move,
    page_views,
    read_profiles,
    resolve,
)
from tests.support import proxy
from tests.support.actions import OPERATOR, read_actions
from tests.support.database import Database

LINK = EventIds("evt_link", at(2), "ann", "phone")
LATER = EventIds("evt_later", at(5), "bob", "phone")


async def change(
    database: Database, name: Direction, event: str, move_limit: int = 1000, *, every: bool = False
) -> LinkChange:
    async with await connect(database.url, "test") as connection, connection.transaction():
        unlinker = Unlinker(NOBODY, move_limit)
        return await unlinker.change(
            connection, name, event, "an operator", "a wrong sign-in", every=every
        )


async def owner_of_pages(database: Database) -> Any:
    """Return the userId of the profile that has all events of the phone, None if anonymous."""
    placed = await read_profiles(database)
    (profile,) = {placed[page.guid] for page in page_views("phone")}
    return await database.value('SELECT "userId" FROM profiles WHERE guid = %s', profile)


async def test_without_another_link_the_events_are_anonymous_again(database: Database) -> None:
    await resolve(database, *page_views("phone"))
    before = (await read_profiles(database))["evt_phone_0"]
    await resolve(database, LINK)
    changed = await change(database, "unlink", "evt_link")
    assert changed == LinkChange("evt_link", "ann", "phone", 1, before, None, None, PAGES)
    assert await owner_of_pages(database) is None
    placed = await read_profiles(database)
    assert placed["evt_link"] == before, "a claimed profile stays the user's"
    assert placed["evt_phone_0"] != before
    assert await find_disagreements(database) == []
    await resolve(database, EventIds("evt_new", at(50), None, "phone"))
    assert (await read_profiles(database))["evt_new"] == placed["evt_phone_0"]
    trail = 'SELECT "eventGuid", action, actor, reason FROM "linkChanges"'
    assert await database.rows(trail) == [
        ("evt_link", "unlinked", "an operator", "a wrong sign-in")
    ]


async def test_the_next_link_owns_the_events(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK, LATER)
    changed = await change(database, "unlink", "evt_link")
    assert (changed.owner, changed.events) == ("bob", PAGES)
    assert await owner_of_pages(database) == "bob"
    assert await find_disagreements(database) == []
    await change(database, "unlink", "evt_later")
    assert await owner_of_pages(database) is None
    await change(database, "relink", "evt_link")
    assert await owner_of_pages(database) == "ann"
    await change(database, "relink", "evt_later")
    assert await owner_of_pages(database) == "ann"
    assert await find_disagreements(database) == []


async def test_another_link_of_the_same_user_keeps_the_events(database: Database) -> None:
    again = EventIds("evt_again", at(9), "ann", "phone")
    await resolve(database, *page_views("phone"), LINK, again)
    changed = await change(database, "unlink", "evt_link")
    assert (changed.links, changed.owner, changed.events) == (1, "ann", 0)
    assert changed.survivor == changed.loser
    assert await owner_of_pages(database) == "ann"
    assert await find_disagreements(database) == []


async def test_all_links_of_the_same_ids_are_ignored_and_restored(database: Database) -> None:
    again = [EventIds(f"evt_again_{number}", at(3 + number), "ann", "phone") for number in range(3)]
    other = EventIds("evt_other", at(1), "ann", "tablet")
    await resolve(database, *page_views("phone"), LINK, *again, LATER, other)
    await change(database, "unlink", "evt_again_1")
    changed = await change(database, "unlink", "evt_again_0", every=True)
    assert (changed.links, changed.owner, changed.events) == (3, "bob", PAGES)
    assert await owner_of_pages(database) == "bob"
    assert await find_disagreements(database) == []
    ignored = await database.column('SELECT "eventGuid" FROM "ignoredLinks"')
    assert set(ignored) == {"evt_link", *(link.guid for link in again)}
    changed = await change(database, "relink", "evt_again_2", every=True)
    assert (changed.links, changed.owner, changed.events) == (4, "ann", PAGES)
    assert await owner_of_pages(database) == "ann"
    assert await find_disagreements(database) == []
    assert await database.count("linkChanges") == 8


async def test_all_links_include_a_pruned_one_that_still_counts(database: Database) -> None:
    again = EventIds("evt_again", at(9), "ann", "phone")
    await resolve(database, *page_views("phone"), LINK, again, LATER)
    await database.execute("DELETE FROM events WHERE guid = 'evt_link'")
    changed = await change(database, "unlink", "evt_again", every=True)
    assert (changed.links, changed.owner) == (2, "bob")
    assert await owner_of_pages(database) == "bob"


async def test_a_later_link_can_be_ignored_before_it_matters(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK, LATER)
    assert (await change(database, "unlink", "evt_later")).events == 0
    assert (await change(database, "unlink", "evt_link")).owner is None
    assert await owner_of_pages(database) is None
    assert await find_disagreements(database) == []


async def test_many_events_follow_in_chunks(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK)
    await change(database, "unlink", "evt_link", move_limit=2)
    moved = []
    while (count := await move(database, 2)) is not None:
        moved.append(count)
    assert sum(moved) == PAGES - 2
    assert await owner_of_pages(database) is None
    assert await find_disagreements(database) == []


async def test_the_guid_of_a_merged_profile_leads_to_where_its_events_went(
    database: Database,
) -> None:
    await resolve(database, EventIds("evt_ann", at(1), "ann", None), *page_views("phone"))
    merged = (await read_profiles(database))["evt_phone_0"]
    await resolve(database, LINK)
    await change(database, "unlink", "evt_link")
    (explanation,) = await explain(database.connection, merged)
    assert explanation.profile == (await read_profiles(database))["evt_phone_0"] != merged
    assert explanation.user_id is None
    assert [merge.reason for merge in explanation.merges] == ["unlinked"]


async def test_a_change_that_was_made_already_changes_nothing(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK)
    assert (await change(database, "relink", "evt_link")).links == 0
    assert (await change(database, "unlink", "evt_link")).links == 1
    assert (await change(database, "unlink", "evt_link")).links == 0
    assert await database.count("linkChanges") == 1


@pytest.mark.parametrize("event", ["evt_none", "evt_phone_0", "evt_user"])
async def test_an_event_that_is_not_a_link_is_refused(database: Database, event: str) -> None:
    await resolve(database, *page_views("phone"), EventIds("evt_user", at(1), "ann", None))
    directions: tuple[Direction, ...] = ("unlink", "relink")
    for name in directions:
        with pytest.raises(NotALink):
            await change(database, name, event)


async def test_a_row_that_another_system_corrects_is_still_no_link(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK)
    await change(database, "unlink", "evt_link")
    await database.execute("""
        UPDATE events SET type = 'corrected', "profileGuid" = NULL WHERE guid = 'evt_link'
    """)
    async with await connect(database.url, "test") as connection, connection.transaction():
        scanned = await RowScanner(NOBODY, 10, move_limit=100).resolve_next(connection, SCAN_START)
    assert scanned.resolved == 1
    assert await owner_of_pages(database) is None
    assert await find_disagreements(database) == []


async def test_a_pruned_link_can_be_ignored(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK)
    await database.execute("DELETE FROM events WHERE guid = 'evt_link'")
    changed = await change(database, "unlink", "evt_link")
    assert (changed.events, changed.is_pruned) == (PAGES, True)
    assert "evt_link was pruned: it cannot be linked again" in describe_change(changed, "unlink")
    assert await owner_of_pages(database) is None
    assert await find_disagreements(database) == []
    with pytest.raises(NotALink, match="was unlinked and then pruned"):
        await change(database, "relink", "evt_link")


async def test_a_preview_changes_nothing(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK, LATER)
    settings = Settings(_env_file=None, database_url=database.url)
    preview = await admin.change_link(settings, "unlink", "evt_link", OPERATOR, "why", preview=True)
    assert (preview.owner, preview.events) == ("bob", PAGES)
    assert await owner_of_pages(database) == "ann"
    assert await database.count("linkChanges") == 0
    moved: list[int] = []
    changed = await admin.change_link(
        settings, "unlink", "evt_link", OPERATOR, "why", progress=moved.append
    )
    assert changed == preview
    assert moved[-1] == PAGES
    assert await owner_of_pages(database) == "bob"
    assert await database.count("eventMoves") == 0
    assert changed.trail is not None
    counts = {"links": 1, "events": PAGES}
    assert await read_actions(database) == [
        (*OPERATOR, "event unlinked", changed.trail, None, counts)
    ]
    await admin.change_link(settings, "unlink", "evt_link", OPERATOR, "why")
    assert await database.count("actions") == 1, "nothing changed"


async def test_a_preview_whose_connection_fails_before_the_rollback_runs_again(
    database: Database,
) -> None:
    await resolve(database, *page_views("phone"), LINK, LATER)
    async with proxy.run(database.url) as (network, url):
        network.cut_at = b"ROLLBACK"
        settings = Settings(_env_file=None, database_url=url)
        preview = await admin.change_link(
            settings, "unlink", "evt_link", OPERATOR, "why", preview=True
        )
        assert network.resets
    assert (preview.owner, preview.events) == ("bob", PAGES)
    assert await database.count("linkChanges") == 0


async def test_nothing_is_left_of_a_forgotten_person(database: Database) -> None:
    await resolve(database, *page_views("phone"), LINK)
    await change(database, "unlink", "evt_link")
    profile = await database.profile_of("ann")

    async def step(work: Any, *arguments: Any, **options: Any) -> Any:
        async with await connect(database.url, "test") as own, own.transaction():
            return await work(own, *arguments, **options)

    assert await step(forget.suppress_ids, profile, Request(profile, "me", "why", "all"), 10) == []
    assert not await step(forget.forget_merges, profile, 10)
    await step(forget.forget_profile, profile)
    await step(forget.lock_next_erasure)
    assert await step(forget.erase_chunk, profile, 10, "command") == 1
    for table in ("ignoredLinks", "linkChanges", "profileMerges"):
        assert await database.count(table) == 0, table
    assert await owner_of_pages(database) is None
    assert await find_disagreements(database) == []
