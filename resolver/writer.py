"""One transaction for a batch: offsets, identity and rows are committed together or not at all."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import TopicPartition
from psycopg import AsyncConnection

from merganser.identity import store
from merganser.identity.plan import Plan, Sighting
from merganser.runtime import set_aside, sql
from resolver import copy_format
from resolver.decode import Batch
from resolver.offsets import Offsets
from schemas import guid
from schemas.event import Event

BLOCK = 500
"""Events whose rows are put together and sent at a time."""

Item = TypeVar("Item")

_EVENTS = sql.load(__package__, "events.sql")


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction did."""

    events: list[Event]
    repeated: int
    """Events of the batch that were stored already, or came twice in it."""
    deleted: int
    """Events that were not stored, as they had been deleted."""
    suppressed: int
    """Events that were not stored, as they are of somebody who was forgotten."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes batches and moves the offsets of their consumer group."""

    offsets: Offsets
    guid_version: guid.GuidVersion
    move: int
    """Older events that one transaction may bring to another profile."""

    async def write(
        self, connection: AsyncConnection[Any], batch: Batch, olds: Mapping[TopicPartition, int]
    ) -> Written:
        """Write a batch inside the caller's transaction.

        Args:
            connection: in a transaction.
            batch: what to write; its dead letters are published already.
            olds: the position of each of its partitions before it.

        Raises:
            Fenced: the stored offsets are not `olds`.
            store.Contended: try again.
        """
        await self.offsets.advance(connection, olds, batch.positions)
        await set_aside.put_records(connection, self.offsets.cluster, batch.dead)
        events, deleted = await self._new(connection, batch)
        plan = await store.resolve(connection, [_sighting(event) for event in events], self.move)
        if plan.unlinked:
            events = [
                _unlinked(event) if event["guid"] in plan.unlinked else event for event in events
            ]
        placed = [
            (event, profile)
            for event, profile in zip(events, plan.assignments, strict=True)
            if profile is not None
        ]
        await self._copy(connection, placed)
        return Written(
            [event for event, _ in placed],
            len(batch.records) - len(events) - deleted,
            deleted,
            len(events) - len(placed),
            plan,
        )

    async def _new(self, connection: AsyncConnection[Any], batch: Batch) -> tuple[list[Event], int]:
        """The events that are to be stored, and how many are not because they were deleted."""
        by_guid = {event["guid"]: event for _, event in batch.records}
        cursor = await connection.execute(_EVENTS["known"], {"guids": sql.texts(by_guid)})
        deleted = 0
        for name, stored in await cursor.fetchall():
            # Both, where another system has inserted a deleted event again.
            if by_guid.pop(name, None) is not None and not stored:
                deleted += 1
        return list(by_guid.values()), deleted

    async def _copy(
        self, connection: AsyncConnection[Any], placed: list[tuple[Event, str]]
    ) -> None:
        """In blocks: Postgres works on one while the next is put together."""
        guids = guid.series(self.guid_version, guid.EVENT_DATA, time.time_ns() // 1_000_000)
        described = [event for event, _ in placed if event["data"]]
        async with connection.cursor() as cursor:
            if placed:
                async with cursor.copy(_EVENTS["copy_events"]) as copy:
                    for block in _blocks(placed):
                        await copy.write(copy_format.events(block))
            if described:
                async with cursor.copy(_EVENTS["copy_data"]) as copy:
                    for some in _blocks(described):
                        await copy.write(copy_format.data(some, guids))


def _blocks(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), BLOCK):
        yield items[start : start + BLOCK]


def _unlinked(event: Event) -> Event:
    """A copy without the anonymousId and without data that is this id."""
    gone = event["anonymousId"]
    data = {key: value for key, value in event["data"].items() if value != gone}
    return {**event, "anonymousId": None, "data": data}


def _sighting(event: Event) -> Sighting:
    return Sighting(event["guid"], event["occurredAt"], event["userId"], event["anonymousId"])
