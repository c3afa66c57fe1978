"""A running resolver and scanner that get hostile events among valid ones."""

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from merganser.identity.audit import audit
from schemas import event as wire
from schemas.event import Event
from schemas.ids import NOBODY, WHITE_SPACE
from tests.isolation.hostile import FORBIDDEN, HostileRecord, HostileRow
from tests.support.failing_triggers import failing_triggers
from tests.support.system import System
from tests.support.waiting import equals, eventually

DELAY = 10.0
"""Seconds until a valid event must be stored, whatever precedes it."""

_INSERT = """
    INSERT INTO events (guid, type, "userId", "anonymousId", "occurredAt", "createdAt")
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (guid) DO UPDATE
    SET "userId" = 'corrected ' || length(events."userId"), "profileGuid" = NULL
"""
"""An existing row gets another user and must be resolved again."""

_DELETE = """
    DELETE FROM events
    WHERE guid = ANY(%s) AND NOT EXISTS (
        SELECT FROM "anonymousIds" WHERE "linkEventGuid" = events.guid
    )
"""

_OPEN_ROWS = """
    SELECT count(*) FROM events
    WHERE "profileGuid" IS NULL AND guid = ANY(%s)
        AND NOT EXISTS (SELECT FROM "setAside" WHERE kind = 'row' AND subject = guid)
        AND (
            lower(btrim("userId", %s)) <> ALL(%s) OR lower(btrim("anonymousId", %s)) <> ALL(%s)
        )
"""


class RunningProcesses:
    """Resolver and scanner on one database and one topic, for many examples."""

    def __init__(self, system: System, producer: AIOKafkaProducer) -> None:
        self._system = system
        self._producer = producer
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Create triggers that fail for some types, and start the processes."""
        await self._system.database.connection.execute(failing_triggers(*FORBIDDEN))
        await self._system.resolver(resolver_dead_limit=1_000_000)
        await self._system.scanner(scanner_interval=0.1)

    async def check(
        self, records: Sequence[HostileRecord], rows: Sequence[HostileRow], gone: Sequence[str]
    ) -> None:
        """Send hostile events among valid ones, and check the result of each."""
        database = self._system.database
        await database.execute("SET merganser.remember_deleted_since = 'infinity'")
        await database.execute(_DELETE, list(gone))
        valid = [event for _ in range(3) for event in self._make_person()]
        published = await self._publish(records, valid)
        await self._insert(rows)
        await self._check_valid_events(valid)
        await self._check_records(published)
        await self._check_rows(rows)
        for service in self._system.services:
            assert service.running
        report = await audit(database.connection, NOBODY, lambda _: None)
        assert not report.disagreements, report.disagreements

    def _make_person(self) -> list[Event]:
        """Return two events: of an anonymous visitor, who then becomes a user."""
        number = next(self._numbers)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        return [
            {
                "guid": f"evt_valid_{number}_{step}",
                "producerGuid": None,
                "ipAddress": None,
                "createdAt": moment,
                "occurredAt": moment,
                "type": "valid",
                "userId": user_id,
                "anonymousId": f"valid visitor {number}",
                "data": {"number": str(number)},
            }
            for step, user_id in enumerate([None, f"valid user {number}"])
        ]

    async def _publish(
        self, records: Sequence[HostileRecord], valid: Sequence[Event]
    ) -> dict[int, HostileRecord]:
        """Publish hostile records between valid ones; return the hostile ones by offset."""
        half = len(valid) // 2
        topic = self._system.events.name
        version = [wire.VERSION_HEADER]
        before = [
            await self._producer.send(topic, wire.encode(event), partition=0, headers=version)
            for event in valid[:half]
        ]
        hostile = []
        for record in records:
            batch = self._producer.create_batch()
            headers = list(record.headers.items())
            assert batch.append(timestamp=None, key=None, value=record.value, headers=headers)
            hostile.append(await self._producer.send_batch(batch, topic, partition=0))
        after = [
            await self._producer.send(topic, wire.encode(event), partition=0, headers=version)
            for event in valid[half:]
        ]
        await asyncio.gather(*before, *after)
        acknowledged = await asyncio.gather(*hostile)
        return dict(zip((record.offset for record in acknowledged), records, strict=True))

    async def _insert(self, rows: Sequence[HostileRow]) -> None:
        for row in rows:
            await self._system.database.execute(_INSERT, *row[:-1])
            for key, value in row.data:
                await self._system.database.execute(
                    'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
                    *(row.guid, key, value),
                )

    async def _check_valid_events(self, valid: Sequence[Event]) -> None:
        guids = [event["guid"] for event in valid]
        stored = 'SELECT count(DISTINCT "profileGuid") FROM events WHERE guid = ANY(%s)'
        together = """
            SELECT count(DISTINCT guid) FROM events
            WHERE "profileGuid" IN (SELECT "profileGuid" FROM events WHERE guid = ANY(%s))
        """
        people = equals(len(valid) // 2)
        database = self._system.database
        await eventually(lambda: database.value(stored, guids), people, within=DELAY)
        assert await database.value(together, guids) == len(valid), "only their own events"

    async def _check_records(self, published: Mapping[int, HostileRecord]) -> None:
        """Check that each record is a dead letter or a stored event."""
        database, topic = self._system.database, self._system.events.name
        next_offset = 'SELECT "nextOffset" FROM "consumerOffsets" WHERE partition = 0'
        end = max(published, default=-1)
        await eventually(
            lambda: database.value(next_offset), lambda next_: next_ > end, within=DELAY
        )
        letters = set(
            await database.column("SELECT subject FROM \"setAside\" WHERE kind = 'record'")
        )
        guids = [
            json.loads(record.value or b"")["guid"]
            for offset, record in published.items()
            if f"{topic}/0/{offset}" not in letters
        ]
        stored = await database.column("SELECT guid FROM events WHERE guid = ANY(%s)", guids)
        assert set(stored) == set(guids), sorted(set(guids) - set(stored))

    async def _check_rows(self, rows: Sequence[HostileRow]) -> None:
        guids = [row.guid for row in rows]
        nobody = list(NOBODY)
        values = (guids, WHITE_SPACE, nobody, WHITE_SPACE, nobody)
        await eventually(
            lambda: self._system.database.value(_OPEN_ROWS, *values), equals(0), within=DELAY
        )
