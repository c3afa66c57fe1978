"""Writes a batch in one transaction: offsets, identity and rows are committed together or not."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from aiokafka import TopicPartition
from psycopg import AsyncConnection

from merganser.identity import store
from merganser.identity.plan import EventIds, Plan
from merganser.runtime import set_aside, sql
from resolver import copy_format
from resolver.decode import Batch
from resolver.offsets import Offsets
from resolver.publishable_keys import PublishableKeys
from schemas import guid
from schemas.event import Event
from schemas.ids import somebody

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
    nobody_ids: frozenset[str]
    """Ids that mean nobody, as `schemas.ids.folded` returns them."""
    publishable_keys: PublishableKeys = field(default_factory=PublishableKeys)

    async def write(
        self,
        connection: AsyncConnection[Any],
        batch: Batch,
        old_offsets: Mapping[TopicPartition, int],
        at_copy: Callable[[], object] = lambda: None,
    ) -> WrittenBatch:
        """Write a batch.

        Args:
            connection: in a transaction.
            batch: its dead letters have been published.
            old_offsets: the offset of each of its partitions before the batch.
            at_copy: called when Postgres has rows to copy, which takes most of the time.

        Raises:
            Fenced: the stored offsets are not `old_offsets`.
            store.Contended: roll back and retry.
        """
        await self.offsets.advance(connection, old_offsets, batch.next_offsets)
        await set_aside.put_records(connection, self.offsets.cluster, batch.dead_letters)
        found = await self._find_new(connection, batch)
        events = found.events
        repeated_links = await self._lock_links(connection, found.earlier_receipts)
        ids = [*await self._ids_of(connection, events), *repeated_links]
        plan = await store.resolve(connection, ids, self.move_limit)
        if plan.detached_events or plan.events_without_user:
            events = [_without_ignored_ids(event, plan) for event in events]
        # The plan's last events are the repeated links, which are stored already.
        stored = [
            (event, profile)
            for event, profile in zip(events, plan.event_profiles, strict=False)
            if profile is not None
        ]
        await self._copy(connection, stored, at_copy)
        await self._set_earlier_receipts(connection, found.earlier_receipts)
        return WrittenBatch(
            events=[event for event, _ in stored],
            repeated=len(batch.records) - len(events) - found.deleted,
            deleted=found.deleted,
            suppressed=len(events) - len(stored),
            plan=plan,
        )

    async def _find_new(self, connection: AsyncConnection[Any], batch: Batch) -> "_FoundEvents":
        new_events = _without_repeats([event for _, event in batch.records])
        cursor = await connection.execute(_SQL["find_known"], {"guids": sql.texts(new_events)})
        deleted = 0
        earlier_receipts = {}
        for event_guid, created_at in await cursor.fetchall():
            # An event that another system inserted again after its deletion has two rows.
            event = new_events.pop(event_guid, None)
            if event is None:
                continue
            if created_at is None:
                deleted += 1
            elif event["createdAt"] < created_at:
                earlier_receipts[event_guid] = event["createdAt"]
        return _FoundEvents(list(new_events.values()), deleted, earlier_receipts)

    async def _ids_of(
        self, connection: AsyncConnection[Any], events: Collection[Event]
    ) -> list[EventIds]:
        """Return what identity needs of new events."""
        publishable = await self.publishable_keys.find(
            connection, {event["producerGuid"] for event in events}
        )
        return [
            EventIds(
                event["guid"],
                event["occurredAt"],
                event["userId"],
                event["anonymousId"],
                event["createdAt"] if event["producerGuid"] in publishable else None,
            )
            for event in events
        ]

    async def _lock_links(
        self, connection: AsyncConnection[Any], earlier_receipts: Mapping[str, datetime]
    ) -> list[EventIds]:
        """Return the stored links over publishable keys that were received earlier than known.

        A row without a profile is left out: the scanner resolves it.
        """
        if not earlier_receipts:
            return []
        cursor = await connection.execute(
            _SQL["lock_links"], {"guids": sql.texts(earlier_receipts)}
        )
        rows = await cursor.fetchall()
        publishable = await self.publishable_keys.find(connection, {row[4] for row in rows})
        return [
            EventIds(
                event_guid,
                occurred_at,
                somebody(user_id, self.nobody_ids),
                somebody(anonymous_id, self.nobody_ids),
                earlier_receipts[event_guid],
            )
            for event_guid, occurred_at, user_id, anonymous_id, producer, has_profile in rows
            if has_profile and producer in publishable
        ]

    async def _set_earlier_receipts(
        self, connection: AsyncConnection[Any], earlier_receipts: Mapping[str, datetime]
    ) -> None:
        if earlier_receipts:
            await connection.execute(
                _SQL["set_earlier_receipts"],
                {
                    "guids": sql.texts(earlier_receipts),
                    "times": list(earlier_receipts.values()),
                },
            )

    async def _copy(
        self,
        connection: AsyncConnection[Any],
        stored: list[tuple[Event, str]],
        at_copy: Callable[[], object],
    ) -> None:
        guids = guid.series(self.guid_version, guid.EVENT_DATA, time.time_ns() // 1_000_000)
        with_data = [event for event, _ in stored if event["data"]]
        async with connection.cursor() as cursor:
            if stored:
                async with cursor.copy(_SQL["copy_events"]) as copy:
                    for events in _blocks(stored):
                        await copy.write(copy_format.encode_events(events))
                        at_copy()
            if with_data:
                async with cursor.copy(_SQL["copy_event_data"]) as copy:
                    for block in _blocks(with_data):
                        await copy.write(copy_format.encode_event_data(block, guids))


class _FoundEvents(NamedTuple):
    """The events of a batch, compared with what is stored."""

    events: list[Event]
    """Those to store."""
    deleted: int
    """Number of those that had been deleted."""
    earlier_receipts: dict[str, datetime]
    """`createdAt` of stored events that is earlier than the stored one, by guid."""


def _blocks(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), EVENTS_PER_BLOCK):
        yield items[start : start + EVENTS_PER_BLOCK]


def _without_ignored_ids(event: Event, plan: Plan) -> Event:
    """Return an event as the plan says: a copy without one id if that is suppressed.

    Data whose value is a suppressed anonymousId goes as well. Data whose value is a placeholder
    stays, as `0` may be anything.
    """
    if event["guid"] in plan.events_without_user:
        return {**event, "userId": None}
    if event["guid"] not in plan.detached_events:
        return event
    removed = event["anonymousId"]
    data = {key: value for key, value in event["data"].items() if value != removed}
    return {**event, "anonymousId": None, "data": data}


def _without_repeats(events: list[Event]) -> dict[str, Event]:
    """Return the events by guid; the earliest receipt of a repeated one counts."""
    by_guid = {event["guid"]: event for event in events}
    if len(by_guid) < len(events):
        for event in events:
            last = by_guid[event["guid"]]
            if event["createdAt"] < last["createdAt"]:
                by_guid[event["guid"]] = {**last, "createdAt": event["createdAt"]}
    return by_guid
