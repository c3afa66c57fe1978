"""A short run of `make chaos`, and a verdict that sees what it is there to see."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos import external
from tests.chaos.faults import TABLE
from tests.chaos.history import happening
from tests.chaos.ledger import Ledger
from tests.chaos.run import Plan, run
from tests.chaos.verdict import Verdict, compare
from tests.support.database import Database
from tests.support.system import System
from tests.support.waiting import equals, eventually

EVENTS = 200


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_nothing_is_lost_however_much_is_broken(tmp_path: Path) -> None:
    quick = [entry for entry in TABLE if entry.quick]
    verdict = await run(Plan(seed=11, seconds=25, faults=quick), tmp_path, Console())
    assert verdict.failures == []
    assert verdict.stored >= verdict.acknowledged > 0
    assert sum(verdict.faults.values()) > 1


def test_an_event_is_the_same_whenever_it_is_asked_for() -> None:
    assert [happening(1, n) for n in range(50)] == [happening(1, n) for n in range(50)]
    assert happening(1, 7) != happening(2, 7)


def test_each_fault_has_a_name_of_its_own() -> None:
    assert len({entry.name for entry in TABLE}) == len(TABLE)


async def test_the_verdict_sees_whatever_is_wrong(system: System) -> None:
    database = system.database
    ledger = Ledger(seed=3)
    numbers = ledger.take(EVENTS)
    assert await external.insert(database.url, 3, [happening(3, number) for number in numbers])
    for number in numbers:
        ledger.acknowledge(number, external.guid_of(3, number))
    await system.scanner()
    await eventually(database.unresolved, equals(0))
    good = await verdict_on(database, ledger)
    assert good.failures == []
    assert good.acknowledged == good.stored == EVENTS

    lost, repeated, retyped, crowded, moved = (ledger.guids[number] for number in range(5))
    change = database.execute
    await change("DELETE FROM events WHERE guid = %s", lost)
    await change(
        'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt", "profileGuid") '
        'SELECT \'evt_copy\', type, "userId", "anonymousId", "occurredAt", "profileGuid" '
        "FROM events WHERE guid = %s",
        repeated,
    )
    await change(
        'INSERT INTO "eventData" ("eventGuid", key, value) '
        'SELECT \'evt_copy\', key, value FROM "eventData" WHERE "eventGuid" = %s',
        repeated,
    )
    await change("UPDATE events SET type = 'other' WHERE guid = %s", retyped)
    await change(
        "INSERT INTO \"eventData\" (\"eventGuid\", key, value) VALUES (%s, 'text', '')", crowded
    )
    await change("UPDATE events SET \"profileGuid\" = 'pro_other' WHERE guid = %s", moved)
    await change("INSERT INTO events (guid, type) VALUES ('evt_stranger', 'row')")
    bad = await verdict_on(database, ledger)
    assert (bad.missing, bad.duplicated, bad.altered, bad.invented) == (1, 1, 2, 1)
    assert bad.misplaced > 0
    assert f"missing: {lost}" in bad.failures


async def verdict_on(database: Database, ledger: Ledger) -> Verdict:
    verdict = Verdict(ledger.seed)
    await compare(verdict, database.connection, ledger)
    return verdict
