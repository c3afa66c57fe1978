"""Writes a batch in one transaction: offsets, identity and rows are committed together or not."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import TopicPartition
from psycopg import AsyncConnection

from merganser.identity import store
from merganser.identity.plan import EventIds, Plan
from merganser.runtime import set_aside, sql
from resolver import copy_format
from resolver.decode import Batch
from resolver.offsets import Offsets
from schemas import guid
from schemas.event import Event

EVENTS_PER_BLOCK = 500
"""Postgres works on one block while the next one is encoded."""

Item = TypeVar("Item")

_SQL = sql.load(__package__, "events.sql")


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """What a transaction did."""

    events: list[Event]
    """Events that were stored."""
    repeated: int
    """Events that were not stored because they are in the table, or more than once in the batch."""
    deleted: int
    """Events that were not stored because they had been deleted."""
    suppressed: int
    """Events that were not stored because their only ids are suppressed."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes batches and advances the offsets of their consumer group."""

    offsets: Offsets
    guid_version: guid.GuidVersion
    move_limit: int
    """Older events that one transaction may move to another profile."""

    async def write(
        self,
        connection: AsyncConnection[Any],
        batch: Batch,
        old_offsets: Mapping[TopicPartition, int],
    ) -> WrittenBatch:
        """Write a batch.

        Args:
            connection: in a transaction.
            batch: its dead letters have been published.
            old_offsets: the offset of each of its partitions before the batch.

        Raises:
            Fenced: the stored offsets are not `old_offsets`.
            store.Contended: roll back and retry.
        """
        await self.offsets.advance(connection, old_offsets, batch.next_offsets)
        await set_aside.put_records(connection, self.offsets.cluster, batch.dead_letters)
        events, deleted = await self._find_new(connection, batch)
        plan = await store.resolve(
            connection, [_ids_of(event) for event in events], self.move_limit
        )
        if plan.unlinked_events:
            events = [
                _without_anonymous_id(event) if event["guid"] in plan.unlinked_events else event
                for event in events
            ]
        stored = [
            (event, profile)
            for event, profile in zip(events, plan.event_profiles, strict=True)
            if profile is not None
        ]
        await self._copy(connection, stored)
        return WrittenBatch(
            events=[event for event, _ in stored],
            repeated=len(batch.records) - len(events) - deleted,
            deleted=deleted,
            suppressed=len(events) - len(stored),
            plan=plan,
        )

    async def _find_new(
        self, connection: AsyncConnection[Any], batch: Batch
    ) -> tuple[list[Event], int]:
        """Return the events that must be stored, and how many of the others were deleted."""
        new_events = {event["guid"]: event for _, event in batch.records}
        cursor = await connection.execute(_SQL["find_known"], {"guids": sql.texts(new_events)})
        deleted = 0
        for event_guid, is_stored in await cursor.fetchall():
            # An event that another system inserted again after its deletion has two rows.
            if new_events.pop(event_guid, None) is not None and not is_stored:
                deleted += 1
        return list(new_events.values()), deleted

    async def _copy(
        self, connection: AsyncConnection[Any], stored: list[tuple[Event, str]]
    ) -> None:
        guids = guid.series(self.guid_version, guid.EVENT_DATA, time.time_ns() // 1_000_000)
        with_data = [event for event, _ in stored if event["data"]]
        async with connection.cursor() as cursor:
            if stored:
                async with cursor.copy(_SQL["copy_events"]) as copy:
                    for events in _blocks(stored):
                        await copy.write(copy_format.encode_events(events))
            if with_data:
                async with cursor.copy(_SQL["copy_event_data"]) as copy:
                    for block in _blocks(with_data):
                        await copy.write(copy_format.encode_event_data(block, guids))


def _blocks(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), EVENTS_PER_BLOCK):
        yield items[start : start + EVENTS_PER_BLOCK]


def _without_anonymous_id(event: Event) -> Event:
    """Return a copy without the anonymousId, and without data whose value is the anonymousId."""
    removed = event["anonymousId"]
    data = {key: value for key, value in event["data"].items() if value != removed}
    return {**event, "anonymousId": None, "data": data}


def _ids_of(event: Event) -> EventIds:
    return EventIds(event["guid"], event["occurredAt"], event["userId"], event["anonymousId"])
