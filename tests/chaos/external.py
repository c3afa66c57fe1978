"""Another system that writes rows of its own, carefully: each until it knows of the commit."""

import asyncio
import uuid
from random import Random

import psycopg

from tests.chaos.history import Happening, happening
from tests.chaos.ledger import Ledger

ROWS = 20
"""Inserted in one transaction."""


def guid_of(seed: int, number: int) -> str:
    """The guid that the other system gives its event."""
    return f"evt_{uuid.UUID(int=Random(f'row {seed} {number}').getrandbits(128), version=4)}"


async def run(url: str, ledger: Ledger, rate: float, stop: asyncio.Event) -> None:
    """Insert about `rate` rows a second."""
    while not stop.is_set():
        numbers = ledger.take(ROWS)
        pause = asyncio.create_task(asyncio.sleep(ROWS / rate))
        events = [happening(ledger.seed, number) for number in numbers]
        while not await insert(url, ledger.seed, events):
            ledger.repeats += ROWS
            await asyncio.sleep(0.5)
        for number in numbers:
            ledger.acknowledge(number, guid_of(ledger.seed, number))
        ledger.rows += ROWS
        await pause


async def insert(url: str, seed: int, events: list[Happening]) -> bool:
    """Insert rows that may be there already; whether they surely are now."""
    try:
        async with (
            asyncio.timeout(10),
            await psycopg.AsyncConnection.connect(url, connect_timeout=5) as connection,
            connection.cursor() as cursor,
        ):
            for event in events:
                guid = guid_of(seed, event.number)
                await cursor.execute(
                    'INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt") '
                    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (guid, event.type, event.user_id, event.anonymous_id, event.occurred_at),
                )
                await cursor.executemany(
                    'INSERT INTO "eventData" (guid, "eventGuid", key, value) '
                    "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [
                        (f"edt_{guid.removeprefix('evt_')}-{key}", guid, key, value)
                        for key, value in event.stored().items()
                    ],
                )
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, TimeoutError):
        return False
    return True
