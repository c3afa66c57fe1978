"""Events and rows that do harm; regular events measure how much they delay others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg

from schemas.event import VERSION_HEADER
from tests.chaos.comparison import HOSTILE_GUID
from tests.chaos.deployment import FORBIDDEN, PARTITIONS, Deployment
from tests.chaos.faults.fault import Injected, fault
from tests.support.topics import Record

DELAY = 10.0
"""Seconds that a regular event may take from acknowledged to stored beside hostile ones."""

CATCH_UP_SECONDS = 30.0

MAX_LAG = 100
"""Records of lag, at most, before the measurement: it leaves out delays by earlier faults."""

_VERSION = dict([VERSION_HEADER])
_NOON = "2026-01-01T12:00:00Z"


def _event(guid: str, user: str | None, visitor: str | None, **more: Any) -> dict[str, Any]:
    return {
        "guid": HOSTILE_GUID + guid,
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
    """Return events with extreme values, each of another user, that all kinds of rules read."""
    ducks = "🦆" * 512
    extremes: list[dict[str, Any]] = [
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
        _event(f"{number}-properties-{place}", f"owner {number} {place}", None, **fields)
        for place, fields in enumerate(extremes)
    ]


async def _publish(deployment: Deployment, events: Sequence[dict[str, Any]]) -> None:
    """Write events to every partition, so that each has some before the regular ones."""
    records = []
    for place, event in enumerate(events):
        key = f"hostile-{len(deployment.hostile_keys)}".encode()
        deployment.hostile_keys.add(key)
        value = json.dumps(event).encode()
        records.append(Record(value, key, _VERSION, place % PARTITIONS))
    await deployment.publish(records)


async def _rows(deployment: Deployment, number: int) -> None:
    """Insert rows that cannot be resolved and a huge one; break a state and a rule."""
    async with await deployment.reconnect() as connection, connection.cursor() as cursor:
        await cursor.executemany(
            'INSERT INTO events (guid, type, "userId", "anonymousId") VALUES (%s, %s, %s, %s)',
            [
                (f"{HOSTILE_GUID}{number}-row-{place}", kind, f"hostile row {number}", None)
                for place, kind in enumerate([*FORBIDDEN, "row", "row"])
            ],
        )
        await cursor.execute(
            """INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, 'text', %s)""",
            (f"{HOSTILE_GUID}{number}-row-{len(FORBIDDEN)}", "z" * (20 << 20)),
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


async def _taken_guids(deployment: Deployment, number: int) -> None:
    """Send events again with another user after another system has corrected them."""
    first = [_event(f"{number}-taken-{n}", f"ann {number}", f"phone {number}") for n in range(2)]
    await _publish(deployment, first)
    guids = [event["guid"] for event in first]
    async with await deployment.reconnect() as connection:
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
        deployment,
        [_event(f"{number}-taken-{n}", f"bob {number}", f"phone {number}") for n in range(2)],
    )


@fault("hostile events", "broker", "postgres", "network", "processes", weight=4)
async def hostile_events(deployment: Deployment) -> AsyncIterator[Injected]:
    """Send hostile events and right behind them regular ones, and wait until these are stored."""
    number = len(deployment.hostile_keys)
    caught_up = await _caught_up(deployment)
    forbidden = [
        _event(f"{number}-{place}", f"user {number} {place}", None, type=FORBIDDEN[place % 4])
        for place in range(2 * PARTITIONS)
    ]
    yield Injected("hostile events, rows, states, rules and answers of the company's database")
    await _taken_guids(deployment, number)
    await _publish(deployment, [*forbidden, *_properties(number)])
    await _rows(deployment, number)
    start = time.monotonic()
    regular = await deployment.send_regular_events()
    missing = await _missing(deployment, regular, start + DELAY)
    if caught_up:
        deployment.measured += len(regular)
        deployment.delayed += missing


async def _caught_up(deployment: Deployment) -> bool:
    """Wait until the resolvers have caught up; return whether they have in time."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while time.monotonic() < deadline:
        ends = await deployment.topics.events.ends()
        async with await deployment.reconnect() as connection:
            cursor = await connection.execute('SELECT sum("nextOffset") FROM "consumerOffsets"')
            ((read,),) = await cursor.fetchall()
        if sum(ends.values()) - int(read or 0) <= MAX_LAG:
            return True
        await asyncio.sleep(0.2)
    return False


async def _missing(deployment: Deployment, guids: Sequence[str], deadline: float) -> list[str]:
    """Return the events that are not resolved at the deadline."""
    missing = list(guids)
    async with await deployment.reconnect() as connection:
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
