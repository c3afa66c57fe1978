"""Events and rows that are meant to do harm; innocent events measure what they cost others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg

from schemas.event import VERSION_HEADER
from tests.chaos.faults.fault import Harm, fault
from tests.chaos.stage import FORBIDDEN, HOSTILE, PARTITIONS, Stage, connected
from tests.support.topics import Record

DELAY = 10.0
"""Seconds that an innocent event may take from acknowledged to stored beside hostile ones."""

SETTLED = 100
"""Records of lag, at most, before the measurement: a backlog of another fault is none of ours."""

_VERSION = dict([VERSION_HEADER])
_NOON = "2026-01-01T12:00:00Z"


def _event(guid: str, user: str | None, visitor: str | None, **more: Any) -> dict[str, Any]:
    return {
        "guid": HOSTILE + guid,
        "producerGuid": None,
        "ipAddress": None,
        "createdAt": _NOON,
        "occurredAt": _NOON,
        "type": "record",
        "userId": None if user is None else f"hostile {user}",
        "anonymousId": None if visitor is None else f"hostile {visitor}",
        "data": {},
        **more,
    }


def _properties(number: int) -> list[dict[str, Any]]:
    """Events of one user each that rules of all kinds count."""
    ducks = "🦆" * 512
    harms: list[dict[str, Any]] = [
        {"data": {"number": "9" * 300, "price": "1" + "0" * 250}},
        {"occurredAt": "9999-12-31T23:59:59.999999Z", "data": {"number": "1"}},
        {"occurredAt": "0001-01-01T00:00:00Z", "data": {"number": "1e999999"}},
        {"data": {"text": '["a\\u0000b", "\\ud800", "fine"]'}},
        {"data": {"text": "[" * 5000}},
        {"data": {"text": "x" * 500_000}},
        {"data": {"text": json.dumps(["y"] * 20_000)}},
        {"type": ducks, "data": {ducks: ducks}},
    ]
    return [
        _event(f"{number}-properties-{place}", f"owner {number} {place}", None, **harm)
        for place, harm in enumerate(harms)
    ]


async def _publish(stage: Stage, events: Sequence[dict[str, Any]]) -> None:
    """Write events to every partition, so that each has some before the innocent ones."""
    records = []
    for place, event in enumerate(events):
        key = f"hostile-{len(stage.hostile)}".encode()
        stage.hostile.add(key)
        value = json.dumps(event).encode()
        records.append(Record(value, key, _VERSION, place % PARTITIONS))
    await stage.publish(records)


async def _rows(stage: Stage, number: int) -> None:
    """Rows of other systems: some that cannot be resolved, a huge one; a broken state and rule."""
    async with await connected(stage) as connection, connection.cursor() as cursor:
        await cursor.executemany(
            'INSERT INTO events (guid, type, "userId", "anonymousId") VALUES (%s, %s, %s, %s)',
            [
                (f"{HOSTILE}{number}-row-{place}", kind, f"hostile row {number}", None)
                for place, kind in enumerate([*FORBIDDEN, "row", "row"])
            ],
        )
        await cursor.execute(
            """INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, 'text', %s)""",
            (f"{HOSTILE}{number}-row-{len(FORBIDDEN)}", "z" * (20 << 20)),
        )
        await cursor.execute(
            """
            UPDATE "propertyStates" SET state = (repeat('[', 3000) || repeat(']', 3000))::json
            WHERE "profileGuid" IN (SELECT guid FROM profiles WHERE "userId" LIKE 'hostile owner %')
            """
        )
        await cursor.execute(
            """UPDATE "profilePropertyRules" SET definition = '1' WHERE key = 'bait'"""
        )


async def _taken_guids(stage: Stage, number: int) -> None:
    """An event that comes again with another user, and one that another system corrects."""
    first = [_event(f"{number}-taken-{n}", f"ann {number}", f"phone {number}") for n in range(2)]
    await _publish(stage, first)
    guids = [event["guid"] for event in first]
    async with await connected(stage) as connection:
        for _ in range(100):
            cursor = await connection.execute(
                'SELECT FROM events WHERE guid = ANY(%s) AND "profileGuid" IS NOT NULL', (guids,)
            )
            if len(await cursor.fetchall()) == len(guids):
                break
            await asyncio.sleep(0.1)
        await connection.execute("SET merganser.remember_deleted_since = 'infinity'")
        await connection.execute(
            'DELETE FROM events WHERE guid = ANY(%s) AND NOT EXISTS (SELECT FROM "anonymousIds" '
            'WHERE "linkEventGuid" = events.guid)',
            (guids,),
        )
        await connection.execute(
            'UPDATE events SET "userId" = %s, "profileGuid" = NULL WHERE guid = ANY(%s)',
            (f"hostile corrected {number}", guids),
        )
    await _publish(
        stage, [_event(f"{number}-taken-{n}", f"bob {number}", f"phone {number}") for n in range(2)]
    )


@fault("hostile events", "broker", "postgres", "network", "processes", weight=4)
async def hostile_events(stage: Stage) -> AsyncIterator[Harm]:
    """Innocent events come right behind hostile ones, and are looked for in the tables."""
    number = len(stage.hostile)
    settled = await _settled(stage)
    forbidden = [
        _event(f"{number}-{place}", f"user {number} {place}", None, type=FORBIDDEN[place % 4])
        for place in range(2 * PARTITIONS)
    ]
    yield Harm("hostile events, rows, states, rules and answers of the company's database")
    await _taken_guids(stage, number)
    await _publish(stage, [*forbidden, *_properties(number)])
    await _rows(stage, number)
    start = time.monotonic()
    innocent = await stage.send_innocent()
    missing = await _missing(stage, innocent, start + DELAY)
    if settled:
        stage.measured += len(innocent)
        stage.delayed += missing


async def _settled(stage: Stage) -> bool:
    """Whether the resolvers have caught up; waits for it a while."""
    for _ in range(150):
        ends = await stage.topics.events.ends()
        async with await connected(stage) as connection:
            cursor = await connection.execute('SELECT sum("nextOffset") FROM "consumerOffsets"')
            ((read,),) = await cursor.fetchall()
        if sum(ends.values()) - int(read or 0) <= SETTLED:
            return True
        await asyncio.sleep(0.2)
    return False


async def _missing(stage: Stage, guids: Sequence[str], deadline: float) -> list[str]:
    """Events that are not resolved by then."""
    missing = list(guids)
    async with await connected(stage) as connection:
        while missing and time.monotonic() < deadline:
            try:
                cursor = await connection.execute(
                    'SELECT guid FROM events WHERE guid = ANY(%s) AND "profileGuid" IS NOT NULL',
                    (missing,),
                )
            except psycopg.OperationalError:
                return missing
            stored = {guid for (guid,) in await cursor.fetchall()}
            missing = [guid for guid in missing if guid not in stored]
            await asyncio.sleep(0.05)
    return missing
