"""Merges and moves on a real Postgres, and their output in `audit` and `explain`."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from merganser.cli.main import app
from merganser.identity import store
from merganser.identity.audit import audit
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from scanner.scan import SCAN_START, RowScanner
from schemas.ids import NOBODY
from tests.identity.histories import START
from tests.support.chunks import move_some
from tests.support.database import Database

PAGES = 7


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


async def resolve(database: Database, *events: EventIds, move: int = 1000) -> None:
    """Resolve events as the resolver does, and store their rows."""
    async with await connect(database.url, "test") as connection, connection.transaction():
        plan = await store.resolve(connection, events, move)
        async with connection.cursor() as cursor:
            await cursor.executemany(
                'INSERT INTO events (guid, type, "occurredAt", "userId", "anonymousId", '
                "\"profileGuid\") VALUES (%s, 'test', %s, %s, %s, %s)",
                [
                    (*event[:4], profile)
                    for event, profile in zip(events, plan.event_profiles, strict=True)
                ],
            )


async def move(database: Database, limit: int) -> int | None:
    async with await connect(database.url, "test") as connection, connection.transaction():
        return await move_some(connection, limit)


async def read_profiles(database: Database) -> dict[str, str]:
    return dict(await database.rows('SELECT guid, "profileGuid" FROM events'))


async def find_disagreements(database: Database) -> list[str]:
    report = await audit(database.connection, NOBODY, lambda _: None)
    return [disagreement.problem for disagreement in report.disagreements]


def page_views(anonymous_id: str, count: int = PAGES) -> list[EventIds]:
    return [
        EventIds(f"evt_{anonymous_id}_{n}", at(10 + n), None, anonymous_id) for n in range(count)
    ]


LATE = EventIds("evt_late", at(2), "ann", "shared")
SOON = EventIds("evt_soon", at(5), "bob", "shared")


async def test_an_earlier_link_moves_only_the_events_of_the_anonymous_id(
    database: Database,
) -> None:
    await resolve(database, *page_views("shared"), SOON)
    await resolve(database, LATE)
    placed = await read_profiles(database)
    assert {placed[page.guid] for page in page_views("shared")} == {placed["evt_late"]}
    assert placed["evt_soon"] != placed["evt_late"]
    assert await database.rows(
        'SELECT reason, "loserGuid", "survivorGuid", "eventGuid" FROM "profileMerges" '
        "WHERE reason = 'moved'"
    ) == [("moved", placed["evt_soon"], placed["evt_late"], "evt_late")]
    assert await find_disagreements(database) == []


async def test_an_earlier_link_in_an_external_row_moves_the_events_too(
    database: Database,
) -> None:
    await resolve(database, *page_views("shared"), SOON)
    await database.execute(
        'INSERT INTO events (guid, type, "occurredAt", "userId", "anonymousId") '
        "VALUES (%s, 'row', %s, %s, %s)",
        *LATE[:4],
    )
    async with await connect(database.url, "test") as connection, connection.transaction():
        await RowScanner(NOBODY, batch_size=10, move_limit=1000).resolve_next(
            connection, SCAN_START
        )
    placed = await read_profiles(database)
    assert {placed[page.guid] for page in page_views("shared")} == {placed["evt_late"]}
    assert placed["evt_soon"] != placed["evt_late"]
    assert await find_disagreements(database) == []


async def test_a_merged_guid_leads_to_the_profile_after_a_later_move(database: Database) -> None:
    await resolve(database, EventIds("evt_bob", at(1), "bob", None), *page_views("shared"))
    old = (await read_profiles(database))["evt_shared_0"]
    await resolve(database, SOON)
    await resolve(database, LATE)
    (explanation,) = await explain(database, old)
    assert explanation["kind"] == "merged profile"
    assert explanation["profile"] == await database.profile_of("ann")


async def test_a_large_merge_moves_events_in_chunks(database: Database) -> None:
    await resolve(database, EventIds("evt_ann", at(1), "ann", None), *page_views("phone"))
    anonymous = (await read_profiles(database))["evt_phone_0"]
    await resolve(database, EventIds("evt_link", at(2), "ann", "phone"), move=2)
    survivor = await database.profile_of("ann")

    # New events are on the new profile before the old ones are moved.
    await resolve(database, EventIds("evt_new", at(50), None, "phone"))
    placed = await read_profiles(database)
    assert placed["evt_new"] == survivor
    assert sum(profile == anonymous for profile in placed.values()) == PAGES - 2
    report = await audit(database.connection, NOBODY, lambda _: None)
    assert (report.disagreements, report.moves_in_progress) == ([], 1)
    (explanation,) = await explain(database, anonymous)
    assert (explanation["profile"], explanation["moving"]) == (survivor, [["phone", anonymous]])

    assert [await move(database, 2) for _ in range(4)] == [2, 2, 1, None]
    assert set((await read_profiles(database)).values()) == {survivor}
    assert await find_disagreements(database) == []


async def test_a_move_back_finishes_without_moving_events(database: Database) -> None:
    bob, ann = EventIds("evt_b", at(3), "bob", None), EventIds("evt_a", at(3), "ann", None)
    await resolve(database, bob, ann, *page_views("shared"))
    await resolve(database, EventIds("evt_1", at(9), "bob", "shared"), move=0)
    await resolve(database, EventIds("evt_2", at(8), "ann", "shared"), move=0)
    await resolve(database, EventIds("evt_3", at(7), "bob", "shared"), move=0)
    while await move(database, 3) is not None:
        pass
    placed = await read_profiles(database)
    assert {placed[page.guid] for page in page_views("shared")} == {placed["evt_b"]}
    assert await find_disagreements(database) == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        pytest.param(
            "UPDATE events SET \"profileGuid\" = 'pro_x' WHERE guid = 'evt_phone_1'",
            "this event is on the wrong profile",
            id="an event on a wrong profile",
        ),
        pytest.param(
            'UPDATE "anonymousIds" SET "linkedAt" = now()',
            "the earliest link of this anonymousId is another event",
            id="a wrong link",
        ),
        pytest.param(
            'UPDATE "anonymousIds" SET "userId" = \'eve\'',
            "this anonymousId has the wrong profile",
            id="a wrong owner",
        ),
        pytest.param(
            "INSERT INTO profiles (guid) VALUES ('pro_orphan')",
            "this anonymous profile must have exactly one anonymousId",
            id="an orphan",
        ),
        pytest.param(
            "UPDATE profiles SET \"userId\" = 'eve' WHERE \"userId\" = 'ann'",
            "this event is on the wrong profile",
            id="a profile of another user",
        ),
    ],
)
async def test_audit_finds_damage(database: Database, damage: Any, found: str) -> None:
    await resolve(database, *page_views("phone"), EventIds("evt_link", at(2), "ann", "phone"))
    assert await find_disagreements(database) == []
    assert (await run("audit", database)).exit_code == 0
    assert await database.execute(damage) > 0
    assert found in await find_disagreements(database)
    assert (await run("audit", database)).exit_code == 1


async def test_explain_shows_events_profiles_users_anonymous_ids_and_refused_links(
    database: Database,
) -> None:
    await resolve(database, *page_views("shared", 1))
    await resolve(database, LATE)
    await resolve(database, SOON)
    ann = await database.profile_of("ann")
    expected = {
        "evt_shared_0": ("event", "belongs to user ann by its earliest link, evt_late"),
        "evt_soon": ("event", "stays with user ann, whose link evt_late is earlier"),
        "evt_late": ("event", "with userId ann, so it is on that user's profile"),
        "ann": ("userId", "user ann has this profile"),
        ann: ("profile", "it is the profile of user ann"),
        "shared": ("anonymousId", "belongs to user ann by its earliest link, evt_late"),
    }
    for name, (kind, words) in expected.items():
        (explanation,) = await explain(database, name)
        assert explanation["kind"] == kind
        assert words in explanation["because"]
        assert words.split()[-1] in (await run("explain", database, name)).stdout
    (explanation,) = await explain(database, "ann")
    assert explanation["refused"] == [
        {"event": "evt_soon", "anonymous_id": "shared", "user_id": "bob", "owner": "ann"}
    ]
    assert [merge["reason"] for merge in explanation["merges"]] == ["claimed"]
    assert (await run("explain", database, "unknown")).exit_code == 1


async def test_the_json_keys_of_explain_stay_the_same(database: Database) -> None:
    """Programs read them."""
    await resolve(database, EventIds("evt_ann", at(1), "ann", None), *page_views("phone"))
    await resolve(database, EventIds("evt_link", at(2), "ann", "phone"), move=0)
    await resolve(database, EventIds("evt_bob", at(3), "bob", "phone"))
    (explanation,) = await explain(database, "ann")
    assert list(explanation) == [
        *("id", "kind", "because", "profile", "user_id", "events"),
        *("visitors", "merges", "refused", "moving"),
    ]
    assert list(explanation["visitors"][0]) == [
        *("anonymous_id", "profile", "owner", "link_event", "linked_at")
    ]
    assert list(explanation["merges"][0]) == [
        *("reason", "anonymous_id", "loser", "survivor", "link_event", "at")
    ]
    assert list(explanation["refused"][0]) == ["event", "anonymous_id", "user_id", "owner"]
    assert explanation["moving"] == [["phone", "pro_phone_0"]]


async def test_an_id_that_is_a_userid_and_an_anonymousid_is_explained_as_both(
    database: Database,
) -> None:
    await resolve(
        database, EventIds("evt_1", at(1), "a", None), EventIds("evt_2", at(2), None, "a")
    )
    explanations = await explain(database, "a")
    assert {explanation["kind"] for explanation in explanations} == {"userId", "anonymousId"}
    assert len({explanation["profile"] for explanation in explanations}) == 2


async def test_two_workers_that_create_the_same_user_create_one_profile(
    database: Database,
) -> None:
    first, second = EventIds("evt_1", at(1), "ann", "x"), EventIds("evt_2", at(2), "ann", "y")
    async with (
        await connect(database.url, "winner") as winner,
        await connect(database.url, "loser") as loser,
    ):

        async def lose() -> None:
            async with loser.transaction():
                await loser.execute("SET LOCAL lock_timeout = '300ms'")
                await store.resolve(loser, [second], 10)  # waits for the other's commit

        async with winner.transaction():
            await store.resolve(winner, [first], 10)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await lose()
        async with loser.transaction():
            plan = await store.resolve(loser, [second], 10)
    assert plan.event_profiles == ("pro_1",)
    assert await database.count("profiles") == 1


async def explain(database: Database, name: str) -> list[dict[str, Any]]:
    result = await run("explain", database, name, "--json")
    assert result.exit_code == 0, result.output
    explanations: list[dict[str, Any]] = json.loads(result.stdout)
    return explanations


async def run(command: str, database: Database, *arguments: str) -> Result:
    """Run a command of `merganser` in a thread, as it starts its own event loop."""
    env = {"MERGANSER_DATABASE_URL": database.url}
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, [command, *arguments], env=env))
