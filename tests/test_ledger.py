"""The verdict that fault tests rest on: whatever is wrong in the tables, it says so."""

from dataclasses import replace
from datetime import timedelta
from typing import LiteralString

import pytest

from tests.support.database import Database
from tests.support.events import NOON
from tests.support.ledger import Ledger, Sent

DOUBLED_DATA: LiteralString = """
INSERT INTO "eventData" ("eventGuid", key, value)
SELECT "eventGuid", key, value FROM "eventData" WHERE key = 'text'
"""

EVENTS = {
    "evt_1": Sent(NOON, None, "phone", {"n": "1"}),
    "evt_2": Sent(NOON, "u", "phone", {"n": "2", "text": ""}),
    "evt_3": Sent(NOON, "u", None, {"n": "3"}),
    "evt_4": Sent(NOON, "v", "phone", {}),
}


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    """Promises, and tables that keep them."""
    for guid, sent in EVENTS.items():
        await database.execute(
            'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt", "profileGuid") '
            "VALUES (%s, 'load', %s, %s, %s, %s)",
            guid,
            sent.user_id,
            sent.anonymous_id,
            sent.occurred_at,
            "pro_v" if sent.user_id == "v" else "pro_u",
        )
        for key, value in sent.data.items():
            statement = 'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)'
            await database.execute(statement, guid, key, value)
    return Ledger(dict(EVENTS))


async def test_promises_kept(ledger: Ledger, database: Database) -> None:
    assert await ledger.disagreements(database) == []
    await ledger.verified(database.url)


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("DELETE FROM events WHERE guid = 'evt_3'", "missing"),
        ("INSERT INTO events (guid, type, \"userId\") VALUES ('evt_5', 'load', 'u')", "doubled"),
        ("UPDATE events SET \"profileGuid\" = 'pro_v' WHERE guid = 'evt_1'", "misplaced"),
        ("UPDATE events SET \"profileGuid\" = 'pro_u'", "misplaced"),
        ("UPDATE events SET \"anonymousId\" = NULL WHERE guid = 'evt_4'", "changed"),
        ("UPDATE events SET \"occurredAt\" = now() WHERE guid = 'evt_4'", "changed"),
        ("UPDATE \"eventData\" SET value = 'x' WHERE key = 'text'", "changed"),
        ("DELETE FROM \"eventData\" WHERE key = 'text'", "changed"),
        (DOUBLED_DATA, "changed"),
    ],
)
async def test_promises_broken(
    ledger: Ledger, database: Database, statement: LiteralString, verdict: str
) -> None:
    await database.execute(statement)
    (found,) = await ledger.disagreements(database)
    assert found.startswith(f"{verdict}: ")


def test_one_guid_for_two_events_is_noticed_at_once() -> None:
    ledger = Ledger(dict(EVENTS))
    ledger.acknowledge("evt_1", EVENTS["evt_1"])
    with pytest.raises(AssertionError, match="two events"):
        ledger.acknowledge(
            "evt_1", replace(EVENTS["evt_1"], occurred_at=NOON + timedelta(seconds=1))
        )
