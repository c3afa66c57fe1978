"""Work in chunks is not finished too early when another transaction deletes rows meanwhile.

Each step may change two of three rows. Another transaction deletes the first row after the step has
found it, so only one of the two is left to change: a third row remains.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString

import pytest
from psycopg import AsyncConnection

from merganser.identity import forget, placeholder, store
from merganser.identity.placeholder import Placeholder
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from schemas.ids import NOBODY
from tests.support.chunks import erase_some, move_some
from tests.support.database import Database
from tests.support.events import NOON
from tests.support.waiting import equals, eventually

Step = Callable[[AsyncConnection[Any]], Awaitable[bool]]
"""Returns whether there may be more to do."""

EVENT: LiteralString = "DELETE FROM events WHERE guid = 'evt_1'"
MERGE: LiteralString = """DELETE FROM "profileMerges" WHERE "anonymousId" = 'd1'"""

ANN: LiteralString = """INSERT INTO profiles (guid, "userId") VALUES ('pro_ann', 'ann');"""
BOB: LiteralString = """INSERT INTO profiles (guid, "userId") VALUES ('pro_bob', 'bob');"""
EVENTS: LiteralString = (
    'INSERT INTO events (guid, type, "occurredAt", "profileGuid", "userId", "anonymousId") '
    "SELECT 'evt_' || n, 't', now(), {} FROM generate_series(1, 3) AS n;"
)
MERGES: LiteralString = (
    'INSERT INTO "profileMerges" '
    '("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid") '
    "SELECT 'd' || n, 'evt_' || n, 'ann', {} FROM generate_series(1, 3) AS n;"
)
ERASURE: LiteralString = (
    'INSERT INTO "erasureLedger" (guid, "profileGuid", "requestedBy", reason, suppresses) '
    "VALUES ('era_1', 'pro_ann', 'me', 'why', 'all');"
    """INSERT INTO erasures ("profileGuid", "ledgerGuid") VALUES ('pro_ann', 'era_1');"""
)
MOVING: LiteralString = (
    'INSERT INTO "anonymousIds" ("anonymousId", "profileGuid") '
    "VALUES ('phone', 'pro_ann');"
    'INSERT INTO "eventMoves" ("anonymousId", "fromGuid") VALUES (\'phone\', \'pro_visitor\');'
)
OWNED: LiteralString = (
    'INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "userId", "linkEventGuid") '
    "SELECT 'd' || n, 'pro_bob', 'bob', 'evt_bob_' || n FROM generate_series(1, 3) AS n;"
)


async def erase(connection: AsyncConnection[Any]) -> bool:
    return await erase_some(connection, 2) is not None


async def move(connection: AsyncConnection[Any]) -> bool:
    return await move_some(connection, 2) is not None


async def detach_phone(connection: AsyncConnection[Any]) -> bool:
    return await forget.detach_anonymous_ids(connection, "pro_ann", ["phone"], 2)


async def delete_merges(connection: AsyncConnection[Any]) -> bool:
    return await forget.delete_merges(connection, "pro_ann", 2)


async def remove_placeholder(connection: AsyncConnection[Any]) -> bool:
    found = Placeholder("ann", "pro_ann", 0, 0, 0)
    return await placeholder.forget_merges(connection, found, NOBODY, 2)


async def run_until_done(database: Database, step: Step) -> None:
    async with await connect(database.url, "test") as connection:
        more = True
        while more:
            async with connection.transaction():
                more = await step(connection)


async def delete_meanwhile(database: Database, deletion: LiteralString, work: Any) -> None:
    """Run work that waits for a transaction which deletes the first row."""
    async with await connect(database.url, "other") as other:
        async with other.transaction():
            await other.execute(deletion)
            working = asyncio.create_task(work)
            await eventually(database.lock_waits, equals(1))
        await working


@pytest.mark.parametrize(
    ("rows", "deletion", "step", "remaining"),
    [
        pytest.param(
            ERASURE + EVENTS.format("'pro_ann', 'ann', NULL"),
            EVENT,
            erase,
            "SELECT count(*) FROM events",
            id="events of an erased person",
        ),
        pytest.param(
            ANN + EVENTS.format("NULL, 'ann', NULL"),
            EVENT,
            detach_phone,
            "SELECT count(*) FROM events",
            id="unresolved rows of a person",
        ),
        pytest.param(
            ANN + BOB + EVENTS.format("'pro_bob', 'bob', 'phone'"),
            EVENT,
            detach_phone,
            """SELECT count(*) FROM events WHERE "anonymousId" = 'phone'""",
            id="events of others",
        ),
        pytest.param(
            ANN + MOVING + EVENTS.format("'pro_visitor', NULL, 'phone'"),
            EVENT,
            move,
            """SELECT count(*) FROM events WHERE "profileGuid" = 'pro_visitor'""",
            id="events to move",
        ),
        pytest.param(
            MERGES.format("'moved', 'pro_x', 'pro_ann'"),
            MERGE,
            delete_merges,
            'SELECT count(*) FROM "profileMerges"',
            id="merges into a profile",
        ),
        pytest.param(
            MERGES.format("'unlinked', 'pro_ann', 'pro_bob'"),
            MERGE,
            delete_merges,
            'SELECT count(*) FROM "profileMerges"',
            id="unlinks from a profile",
        ),
        pytest.param(
            MERGES.format("'moved', 'pro_ann', 'pro_bob'"),
            MERGE,
            delete_merges,
            'SELECT count(*) FROM "profileMerges" WHERE "loserGuid" IS NOT NULL',
            id="moves from a profile",
        ),
        pytest.param(
            ANN + BOB + OWNED + MERGES.format("'merged', 'pro_x', 'pro_ann'"),
            MERGE,
            remove_placeholder,
            """SELECT 2 - count(*) FROM "profileMerges" WHERE "survivorGuid" = 'pro_bob'""",
            id="merges into a placeholder",
        ),
    ],
)
async def test_a_step_takes_another_row_for_one_that_is_deleted_meanwhile(
    database: Database,
    rows: LiteralString,
    deletion: LiteralString,
    step: Step,
    remaining: LiteralString,
) -> None:
    await database.execute(rows)
    await delete_meanwhile(database, deletion, run_until_done(database, step))
    assert await database.value(remaining) == 0


async def test_a_plan_queues_a_move_although_an_event_is_deleted_meanwhile(
    database: Database,
) -> None:
    async def resolve(event: EventIds) -> None:
        async with await connect(database.url, "test") as connection, connection.transaction():
            await store.resolve(connection, [event], 2)

    await database.execute(ANN)
    await resolve(EventIds("evt_0", NOON, None, "phone"))
    visitor = await database.value('SELECT "profileGuid" FROM "anonymousIds"')
    await database.execute(EVENTS.format("%s, NULL, 'phone'"), visitor)
    await delete_meanwhile(database, EVENT, resolve(EventIds("evt_4", NOON, "ann", "phone")))
    await run_until_done(database, move)
    assert await database.column('SELECT DISTINCT "profileGuid" FROM events') == ["pro_ann"]
