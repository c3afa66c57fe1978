"""The comparison on which fault tests and `make chaos` depend finds each kind of failure."""

from typing import LiteralString

import pytest

from tests.chaos.comparison import compare, verify
from tests.chaos.corrections import Forgotten
from tests.chaos.history import ClientEvent
from tests.chaos.ledger import Ledger
from tests.chaos.load import guid_of_row, insert_rows
from tests.chaos.verdict import Verdict
from tests.support.database import Database
from tests.support.events import NOON
from tests.support.system import System

EVENTS = [
    ClientEvent("row", None, "phone", NOON, {"number": "0"}),
    ClientEvent("row", "u", "phone", NOON, {"number": "1", "text": "", "nothing": None}),
    ClientEvent("row", "u", None, NOON, {"number": "2"}),
    ClientEvent("row", "v", "phone", NOON, {}),
]


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    """A ledger, and tables that agree with it."""
    ledger = Ledger(EVENTS.__getitem__)
    events = {f"evt_{number}": event for number, event in enumerate(EVENTS)}
    assert await insert_rows(database.url, events)
    for number, guid in enumerate(events):
        ledger.acknowledge(number, guid)
    await database.execute(
        "UPDATE events SET \"profileGuid\" = 'pro_' || coalesce(\"userId\", 'u')"
    )
    return ledger


async def _verdict(database: Database, ledger: Ledger) -> Verdict:
    verdict = Verdict()
    await compare(verdict, database.connection, ledger)
    return verdict


async def test_tables_that_agree(ledger: Ledger, database: Database) -> None:
    verdict = await _verdict(database, ledger)
    assert verdict.failures == []
    assert verdict.good
    assert verdict.acknowledged == verdict.stored == len(EVENTS)


COPY_EVENT: LiteralString = """
WITH copy AS (
    INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt", "profileGuid")
    SELECT 'evt_copy', type, "userId", "anonymousId", "occurredAt", "profileGuid"
    FROM events WHERE guid = 'evt_2' RETURNING guid
)
INSERT INTO "eventData" (guid, "eventGuid", key, value)
SELECT 'edt_copy', copy.guid, key, value FROM "eventData", copy WHERE "eventGuid" = 'evt_2'
"""
COPY_DATA: LiteralString = """
INSERT INTO "eventData" ("eventGuid", key, value)
SELECT "eventGuid", key, value FROM "eventData" WHERE key = 'text'
"""


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM events WHERE guid = 'evt_2'", "missing: evt_2"),
        (COPY_EVENT, "stored more than once: event 2, evt_2"),
        (
            "INSERT INTO events (guid, type, \"userId\") VALUES ('evt_5', 'row', 'u')",
            "never sent: evt_5",
        ),
        ("UPDATE events SET \"profileGuid\" = 'pro_v' WHERE guid = 'evt_0'", "misplaced: "),
        ("UPDATE events SET \"profileGuid\" = 'pro_u'", "misplaced: evt_3"),
        ("UPDATE events SET \"profileGuid\" = NULL WHERE guid = 'evt_2'", "misplaced: evt_2"),
        ("UPDATE events SET type = 'other' WHERE guid = 'evt_2'", "altered: evt_2: "),
        ("UPDATE events SET \"anonymousId\" = NULL WHERE guid = 'evt_3'", "altered: evt_3: "),
        ("UPDATE events SET \"occurredAt\" = now() WHERE guid = 'evt_3'", "altered: evt_3: "),
        ("UPDATE \"eventData\" SET value = 'x' WHERE key = 'text'", "altered: evt_1: data"),
        ("DELETE FROM \"eventData\" WHERE key = 'text'", "altered: evt_1: data"),
        (COPY_DATA, "altered: evt_1: data"),
    ],
)
async def test_tables_that_differ(
    ledger: Ledger, database: Database, statement: LiteralString, problem: str
) -> None:
    await database.execute(statement)
    verdict = await _verdict(database, ledger)
    assert verdict.failures[0].startswith(problem)
    assert len({failure.split(":")[0] for failure in verdict.failures}) == 1
    counts = (verdict.missing, verdict.duplicated, verdict.misplaced, verdict.altered)
    assert sum(counts) + verdict.never_sent == len(verdict.failures)


SUPPRESS: LiteralString = """
INSERT INTO "suppressedIds" (hash)
VALUES ("suppressionHash"('userId', 'v')), ("suppressionHash"('anonymousId', 'phone'))
"""
PROVE: LiteralString = """
WITH ledger AS (
    INSERT INTO "erasureLedger" ("profileGuid", "requestedBy", reason, suppresses, "finishedAt")
    VALUES ('pro_v', 'a test', 'a test', 'all', now()) RETURNING guid
), ids AS (
    INSERT INTO "erasedIds" ("erasureGuid", kind, hash, suppressed)
    SELECT guid, 'name', hash, true FROM ledger CROSS JOIN "suppressedIds"
)
INSERT INTO "erasureCounts" ("erasureGuid", "table", action, "doneBy", rows)
SELECT guid, 'profiles', 'deleted', 'command', 1 FROM ledger
"""
FORGET: tuple[LiteralString, ...] = (
    SUPPRESS,
    PROVE,
    'DELETE FROM events WHERE "userId" = \'v\' OR "userId" IS NULL',
    'DELETE FROM "eventData" WHERE "eventGuid" = \'evt_0\'',
    'UPDATE events SET "anonymousId" = NULL',
)
"""The tables without the user `v`, to whom the anonymousId `phone` belongs."""

INSERT_DEVICE: LiteralString = """
INSERT INTO "anonymousIds" ("anonymousId", "profileGuid") VALUES ('phone', 'pro_u')
"""
INSERT_PROPERTY: LiteralString = """
INSERT INTO "profileProperties" ("profileGuid", key, value, position)
VALUES ('pro_v', 'plan', 'free', 0)
"""
LIFT_DEVICE: LiteralString = """
DELETE FROM "suppressedIds" WHERE hash = "suppressionHash"('anonymousId', 'phone')
"""


@pytest.fixture
async def forgotten(ledger: Ledger, database: Database) -> Ledger:
    """A ledger with a forgotten person, and tables that agree with it."""
    ledger.corrections.forgotten.append(
        Forgotten("pro_v", "v", frozenset({"phone"}), moved=frozenset(), link_changes=0)
    )
    for statement in FORGET:
        await database.execute(statement)
    return ledger


async def test_tables_without_a_forgotten_person(forgotten: Ledger, database: Database) -> None:
    verdict = await _verdict(database, forgotten)
    assert verdict.failures == []
    assert (verdict.acknowledged, verdict.stored, verdict.erased) == (4, 2, 2)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "INSERT INTO events (guid, type, \"userId\") VALUES ('evt_3', 'row', 'v')",
            "of a forgotten person: evt_3",
        ),
        ("UPDATE events SET \"anonymousId\" = 'phone' WHERE guid = 'evt_1'", "altered: evt_1"),
        ("INSERT INTO profiles (guid) VALUES ('pro_v')", "a trace of a forgotten person: profiles"),
        (INSERT_DEVICE, "a trace of a forgotten person: anonymousIds.anonymousId phone"),
        (INSERT_PROPERTY, "a trace of a forgotten person: profileProperties.profileGuid pro_v"),
        ("DELETE FROM events WHERE guid = 'evt_2'", "missing: evt_2"),
        (
            "INSERT INTO \"suppressedIds\" (hash) SELECT \"suppressionHash\"('userId', 'u')",
            "suppressed but never forgotten: u",
        ),
        (
            "INSERT INTO \"suppressedIds\" (hash) SELECT \"suppressionHash\"('userId', 'w')",
            "3 ids are suppressed: ",
        ),
        (
            "DELETE FROM \"suppressedIds\" WHERE hash = \"suppressionHash\"('userId', 'v')",
            "a forgotten userId is not suppressed: v",
        ),
        (LIFT_DEVICE, "a forgotten anonymousId is not suppressed: phone"),
        ("INSERT INTO \"ignoredLinks\" VALUES ('evt_1')", "ignored or not: evt_1"),
        ('DELETE FROM "erasureCounts"', "the ledger of erasures lacks: pro_v"),
        ('DELETE FROM "erasedIds"', "the ledger of erasures lacks: "),
        ('UPDATE "erasureLedger" SET "finishedAt" = NULL', "the ledger of erasures lacks: "),
    ],
)
async def test_a_forgotten_person_who_left_something(
    forgotten: Ledger, database: Database, statement: LiteralString, problem: str
) -> None:
    await database.execute(statement)
    assert (await _verdict(database, forgotten)).failures[0].startswith(problem)


async def test_the_definition_ignores_unlinked_events(ledger: Ledger, database: Database) -> None:
    ledger.corrections.ignored_links["evt_1"] = "phone"
    await database.execute("INSERT INTO \"ignoredLinks\" VALUES ('evt_1')")
    assert (await _verdict(database, ledger)).misplaced
    await database.execute("UPDATE events SET \"profileGuid\" = 'pro_v' WHERE guid = 'evt_0'")
    assert (await _verdict(database, ledger)).failures == []


async def test_one_event_with_two_guids(ledger: Ledger, database: Database) -> None:
    ledger.acknowledge(1, "evt_1")
    assert ledger.unexpected == []
    ledger.acknowledge(1, "evt_9")
    verdict = await _verdict(database, ledger)
    assert verdict.failures == ["an answer: event 1 first had the guid evt_1, then evt_9"]


async def test_two_events_with_one_guid(ledger: Ledger, database: Database) -> None:
    ledger.acknowledge(3, "evt_2")
    assert not (await _verdict(database, ledger)).good


async def test_an_unanswered_event_may_be_stored_once(ledger: Ledger, database: Database) -> None:
    del ledger.guids[2]
    ledger.unanswered.add(2)
    assert (await _verdict(database, ledger)).good
    await database.execute("DELETE FROM events WHERE guid = 'evt_2'")
    assert (await _verdict(database, ledger)).good


async def test_a_fault_test_fails_for_a_lost_event(system: System) -> None:
    ledger = Ledger()
    events = {guid_of_row(number): ledger.event_of(number) for number in range(200)}
    assert await insert_rows(system.database.url, events)
    for number, guid in enumerate(events):
        ledger.acknowledge(number, guid)
    await system.scanner()
    await verify(system, ledger)
    lost = ledger.guids[100]
    await system.database.execute("DELETE FROM events WHERE guid = %s", lost)
    with pytest.raises(AssertionError, match=f"missing: {lost}"):
        await verify(system, ledger)
