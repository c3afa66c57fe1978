"""`forget --placeholder` is killed after any transaction, and continues later."""

import pytest

from merganser.admin import forget
from merganser.admin.placeholder import run_steps
from merganser.identity import placeholder
from merganser.identity.audit import audit
from merganser.identity.forget import Request
from merganser.identity.placeholder import Placeholder
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from schemas.ids import NOBODY
from tests.admin.persons import find_traces, read_tables
from tests.admin.test_erasure_ledger import TRUNCATE, count_rows, read_counts
from tests.identity.test_trail import at, resolve
from tests.support.chunks import move_some
from tests.support.database import Database
from tests.support.kills import Killed, kill_after, transact_on

PLACEHOLDER, ANN = "tester-7", "ann-of-london"
REMOVE = Request(PLACEHOLDER, "an operator", "no person", "placeholder")
FORGET = Request(ANN, "an officer", "a request", "all")

EVENTS = (
    EventIds("evt_phone", at(0), None, "phone-1"),
    EventIds("evt_tablet", at(0), None, "tablet-1"),
    EventIds("evt_only", at(1), PLACEHOLDER, None),
    EventIds("evt_tested_phone", at(2), PLACEHOLDER, "phone-1"),
    EventIds("evt_tested_tablet", at(2), PLACEHOLDER, "tablet-1"),
    EventIds("evt_ann", at(3), ANN, "phone-1"),
)
"""Ann's phone and a tablet, which the placeholder has merged."""


async def fill(database: Database) -> Placeholder:
    await database.execute(TRUNCATE)
    for event in EVENTS:
        await resolve(database, event)
    found = await placeholder.find_placeholder(database.connection, PLACEHOLDER)
    assert found is not None
    return found


async def remove(
    database: Database, found: Placeholder, transactions: int, at_most: int = 2
) -> bool:
    """Run the command; return False if it is killed after that many transactions."""
    async with await connect(database.url, "test") as connection:
        transact = kill_after(transactions, transact_on(connection))
        try:
            await run_steps(transact, found, REMOVE, NOBODY, at_most, lambda _: None)
        except Killed:
            return False
    return True


async def forget_ann(database: Database) -> None:
    profile = await database.profile_of(ANN)
    async with await connect(database.url, "test") as connection:
        await forget.erase_profile(transact_on(connection), profile, FORGET, lambda _: None)


@pytest.mark.parametrize("scanner", [False, True], ids=["no scanner", "a scanner"])
async def test_a_person_is_forgotten_while_a_removal_is_unfinished(
    database: Database, *, scanner: bool
) -> None:
    """The person's device has been the placeholder's."""
    transactions, finished = 0, False
    while not finished:
        found = await fill(database)
        finished = await remove(database, found, transactions)
        owner = """SELECT "userId" FROM "anonymousIds" WHERE "anonymousId" = 'phone-1'"""
        is_of_ann = await database.value(owner) == ANN
        if scanner:
            async with await connect(database.url, "test") as connection:
                await move_some(connection, 1)
        await forget_ann(database)
        traces = {ANN, "phone-1", "evt_phone"} if is_of_ann else {ANN}
        assert find_traces(await read_tables(database), traces) == set()
        if transactions == 0 or await database.count("erasures"):
            assert await remove(database, found, 1000)
        assert find_traces(await read_tables(database), {*traces, PLACEHOLDER}) == set()
        of_tablet = ["evt_tablet", "evt_tested_tablet"]
        of_phone = [] if is_of_ann else ["evt_phone", "evt_tested_phone"]
        events = await database.column("SELECT guid FROM events ORDER BY guid")
        assert events == sorted(of_tablet + of_phone)
        assert (await audit(database.connection, NOBODY, lambda _: None)).disagreements == []
        assert await database.count("eventMoves") == await database.count("erasures") == 0
        transactions += 1
    assert transactions > 8


ROWS = """
    INSERT INTO profiles (guid, "userId") VALUES ('pro_p', 'tester-7'), ('pro_ann', 'ann');
    INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "userId", "linkEventGuid")
    SELECT 'd' || n, 'pro_p', 'tester-7', 'evt_' || n FROM generate_series(1, 4) AS n
    UNION ALL
    VALUES ('o1', 'pro_ann', 'ann', 'evt_o1'), ('o2', 'pro_ann', 'ann', 'evt_o2');
    INSERT INTO events (guid, type, "profileGuid", "userId", "anonymousId", "occurredAt")
    SELECT 'evt_' || n, 't', 'pro_p', 'tester-7', 'd' || n, timestamptz '2026-01-01 00:00Z'
    FROM generate_series(1, 4) AS n
    UNION ALL
    SELECT 'evt_own_' || n, 't', 'pro_p', NULL, 'd' || n, '2026-01-01 00:00Z'
    FROM generate_series(1, 4) AS n
    UNION ALL
    SELECT 'evt_only_' || n, 't', 'pro_p', 'tester-7', NULL, '2026-01-01 00:00Z'
    FROM generate_series(1, 3) AS n
    UNION ALL
    VALUES
        ('evt_ann', 't', 'pro_ann', 'ann', 'd3', timestamptz '2026-01-02 00:00Z'),
        ('evt_o1', 't', 'pro_ann', 'ann', 'o1', '2026-01-01 00:00Z'),
        ('evt_o2', 't', 'pro_ann', 'ann', 'o2', '2026-01-01 00:00Z'),
        ('evt_row_1', 't', NULL, 'tester-7', 'd1', NULL),
        ('evt_row_2', 't', NULL, 'tester-7', NULL, NULL);
    INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'k', 'v' FROM events;
    INSERT INTO "ignoredLinks" VALUES ('evt_2');
    INSERT INTO "linkChanges" ("eventGuid", action, reason, actor)
    VALUES ('evt_2', 'unlinked', 'why', 'me'), ('evt_only_1', 'unlinked', 'why', 'me');
    INSERT INTO "profileMerges"
        ("anonymousId", "eventGuid", "userId", reason, "loserGuid", "survivorGuid")
    VALUES
        ('d1', 'evt_1', 'tester-7', 'claimed', NULL, 'pro_p'),
        ('d2', 'evt_2', 'tester-7', 'merged', 'pro_2', 'pro_p'),
        ('d3', 'evt_3', 'tester-7', 'merged', 'pro_3', 'pro_p'),
        ('d4', 'evt_4', 'tester-7', 'moved', 'pro_x', 'pro_p'),
        ('o1', 'evt_o1', 'ann', 'moved', 'pro_p', 'pro_ann'),
        ('o2', 'evt_o2', 'ann', 'unlinked', 'pro_p', 'pro_ann');
    INSERT INTO "profileProperties" ("profileGuid", key, position, value)
    VALUES ('pro_p', 'k', 1, 'v');
    INSERT INTO "profileDecorations" VALUES ('pro_p', 'crm', now());
    INSERT INTO "setAside" (kind, subject, place, reason)
    VALUES
        ('row', 'evt_row_1', '', 'r'), ('row', 'evt_row_2', '', 'r'),
        ('value', 'pro_p', 'k', 'r');
"""
"""A placeholder with four devices, and two that have left it; Ann has a link of the third."""

CHANGED = {"anonymousIds": 4, "events": 5, "profileMerges": 2}
"""Rows that named the placeholder: its devices, the events and merges that stay."""


@pytest.mark.parametrize("scanner", [False, True], ids=["no scanner", "a scanner"])
async def test_counts_are_the_rows_that_are_gone_whenever_the_command_is_killed(
    database: Database, *, scanner: bool
) -> None:
    found = Placeholder(PLACEHOLDER, "pro_p", 4, 8, 3)
    guids = "SELECT guid FROM profiles"
    transactions, finished = 0, False
    while not finished:
        await database.execute(TRUNCATE)
        await database.execute(ROWS)
        before, profiles = await count_rows(database), set(await database.column(guids))
        finished = await remove(database, found, transactions)
        if scanner:
            async with await connect(database.url, "test") as connection:
                while await move_some(connection, 1) is not None:
                    pass
        if transactions == 0 or await database.count("erasures"):
            assert await remove(database, found, 1000)
        created = set(await database.column(guids)) - profiles
        assert len(created) == 3
        after = await count_rows(database)
        gone = {table: before[table] - after[table] for table in before}
        gone["profiles"] += len(created)
        assert await read_counts(database, "deleted") == {t: n for t, n in gone.items() if n}
        assert await read_counts(database, "changed") == CHANGED
        assert find_traces(await read_tables(database), {PLACEHOLDER}) == set()
        transactions += 1
    assert transactions > 15


async def test_a_transaction_changes_the_owners_of_few_anonymous_ids(database: Database) -> None:
    """It reads all their events, so other limits are higher."""
    await database.execute("""
        INSERT INTO profiles (guid, "userId") VALUES ('pro_p', 'tester-7');
        INSERT INTO "anonymousIds" ("anonymousId", "profileGuid", "userId", "linkEventGuid")
        SELECT 'd' || n, 'pro_p', 'tester-7', 'evt_' || n FROM generate_series(1, 150) AS n
    """)
    found = Placeholder(PLACEHOLDER, "pro_p", 150, 0, 0)
    assert not await remove(database, found, transactions=2, at_most=2000)
    owned = """SELECT count(*) FROM "anonymousIds" WHERE "profileGuid" = 'pro_p'"""
    assert await database.value(owned) == 50
