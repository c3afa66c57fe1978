"""The whole table sent over every way in, each killer beside valid events, and what came of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import psycopg
from psycopg import sql

from schemas import event as wire
from tests.bad_input.bodies import BODIES
from tests.bad_input.killers import KILLERS, Killer
from tests.bad_input.outcomes import Denied, Outcome, Stored, Unresolved
from tests.bad_input.written import OWN, SEGMENT, as_event, as_record, as_row, good
from tests.support.database import Database
from tests.support.events import event
from tests.support.refusals import shape_of
from tests.support.system import System
from tests.support.topics import Record, record_of
from tests.support.waiting import equals, eventually

Way = Literal["alone", "batch", "segment", "topic", "row"]

AT_ONCE = 8
"""Requests."""

RECORDS = [body for body in BODIES if len(body.raw) < 100_000 or str(body) == "1 MiB"]
"""Whole bodies that are records, too."""

_NUMBER = {str(killer): number for number, killer in enumerate(KILLERS)}


@dataclass(frozen=True)
class Answered:
    """A refusal as its sender reads it."""

    status: int
    code: str
    fields: frozenset[str]


@dataclass
class Driven:
    """What came of each killer on each way."""

    answered: dict[str, Answered | Denied] = field(default_factory=dict)
    """By mark."""
    letters: dict[str, Record] = field(default_factory=dict)
    """By mark."""
    stored: dict[str, tuple[bool, dict[str, Any]]] = field(default_factory=dict)
    """By mark: whether it has a profile, and its columns and data."""
    good: set[str] = field(default_factory=set)
    """The marks of the valid events beside."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """Of all processes."""

    def of(self, way: Way, killer: Killer) -> Outcome | Answered | Record | None:
        """What came of it; None: nothing, it is lost."""
        mark = mark_of(way, killer)
        if refused := self.answered.get(mark):
            return refused
        if letter := self.letters.get(mark):
            return letter
        if mark not in self.stored:
            return None
        resolved, columns = self.stored[mark]
        return Stored(_at(killer, columns)) if resolved else Unresolved()


def mark_of(way: Way, killer: Killer) -> str:
    """The id of a killer's event, by which it is found again."""
    return f"{way}-{_NUMBER[str(killer)]}"


async def drive(system: System) -> Driven:
    """Send all, wait until nothing is left to do, and look."""
    driven = Driven()
    gateway, resolver, scanner = await asyncio.gather(
        system.ingest(), system.resolver(), system.scanner()
    )
    await _rows(system.database, driven)
    await _topic(system, driven)
    async with httpx.AsyncClient(
        base_url=gateway.url, headers={"authorization": f"Bearer {gateway.key}"}, timeout=60
    ) as client:
        await _each(lambda killer: _alone(client, killer, driven))
        await _each(lambda killer: _batch(client, killer, driven))
        await _each(lambda killer: _segment(client, killer, driven))
    await _settled(system)
    driven.letters = {
        (letter.key or b"").decode(): letter for letter in await system.dead.records()
    }
    driven.stored = {mark: found async for mark, found in _found(system.database)}
    driven.log = gateway.log_lines + resolver.log_lines + scanner.log_lines
    return driven


async def _each(send: Callable[[Killer], Awaitable[None]]) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(killer: Killer) -> None:
        async with room:
            await send(killer)

    await asyncio.gather(*map(one, KILLERS))


async def _alone(client: httpx.AsyncClient, killer: Killer, driven: Driven) -> None:
    mark = mark_of("alone", killer)
    body = as_event(killer, mark)
    answer = await client.post("/api/v1/track", content=body)
    if answer.status_code != 200:
        driven.answered[mark] = _answered(answer.status_code, answer.json())


async def _batch(client: httpx.AsyncClient, killer: Killer, driven: Driven) -> None:
    mark = mark_of("batch", killer)
    body = b'{"events":[%s]}' % _beside(as_event(killer, mark), mark, OWN, driven)
    answer = await client.post("/api/v1/batch", content=body)
    assert answer.status_code == 200, f"{killer}: {answer.text}"
    before, result, after = answer.json()["events"]
    assert before["success"], killer
    assert after["success"], killer
    if not result["success"]:
        driven.answered[mark] = _answered(200, result)


async def _segment(client: httpx.AsyncClient, killer: Killer, driven: Driven) -> None:
    mark = mark_of("segment", killer)
    body = b'{"batch":[%s]}' % _beside(as_event(killer, mark, SEGMENT), mark, SEGMENT, driven)
    answer = await client.post("/v1/batch", content=body)
    assert answer.status_code == 200, f"{killer}: {answer.text}"
    for rejected in answer.json().get("rejected", []):
        assert rejected["index"] == 1, killer
        driven.answered[mark] = _answered(200, rejected)


async def _topic(system: System, driven: Driven) -> None:
    """All in one partition, so that one fetch of the resolver has many of them."""
    records = []
    for killer in KILLERS:
        mark = mark_of("topic", killer)
        driven.good.add(f"{mark}-good")
        neighbour = record_of(event(f"{mark}-good", kind="good"))._replace(partition=0)
        records += [neighbour, *([as_record(killer, mark)] if killer.topic else [])]
    version = dict([wire.VERSION_HEADER])
    bodies = [Record(body.raw, str(body).encode(), version, partition=0) for body in RECORDS]
    await system.events.publish(*records, *bodies)


async def _rows(database: Database, driven: Driven) -> None:
    for killer in KILLERS:
        mark = mark_of("row", killer)
        driven.good.add(f"{mark}-good")
        await database.execute(
            """INSERT INTO events (type, "userId") VALUES ('good', %s)""", f"{mark}-good"
        )
        if killer.row:
            try:
                await _insert(database, *as_row(killer, mark))
            except psycopg.Error as error:
                driven.answered[mark] = Denied(error.sqlstate or "")


async def _insert(
    database: Database, columns: Mapping[str, bytes], data: Mapping[bytes, bytes]
) -> None:
    """Bytes, so that Postgres and not its client decides what is text."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    values = sql.SQL(", ").join(
        sql.SQL("convert_from(%s, 'UTF8')" + ("::timestamptz" if name == "occurredAt" else ""))
        for name in columns
    )
    async with database.connection.transaction():
        cursor = await database.connection.execute(
            sql.SQL("INSERT INTO events ({}) VALUES ({}) RETURNING guid").format(names, values),
            list(columns.values()),
        )
        ((guid,),) = await cursor.fetchall()
        if data:
            await database.execute(
                """
                INSERT INTO "eventData" ("eventGuid", key, value)
                SELECT %s, convert_from(key, 'UTF8'), convert_from(value, 'UTF8')
                FROM unnest(%s::bytea[], %s::bytea[]) AS d (key, value)
                """,
                *(guid, list(data), list(data.values())),
            )


async def _settled(system: System) -> None:
    """Every record is behind the resolver, and every row that can be resolved is."""
    await system.consumed()
    waiting = sum(isinstance(killer.row, Unresolved) for killer in KILLERS)
    await eventually(system.database.unresolved, equals(waiting))


async def _found(database: Database) -> AsyncIterator[tuple[str, tuple[bool, dict[str, Any]]]]:
    rows = await database.rows("""
        SELECT e."profileGuid" IS NOT NULL, e.type, e."userId", e."anonymousId", e."occurredAt",
            coalesce(jsonb_object_agg(d.key, d.value) FILTER (WHERE d.guid IS NOT NULL), '{}'),
            count(d.guid)
        FROM events e LEFT JOIN "eventData" d ON d."eventGuid" = e.guid
        GROUP BY e.guid
    """)
    for resolved, kind, user, anonymous, occurred, data, count in rows:
        assert len(data) == count
        columns = {
            "type": kind,
            "userId": user,
            "anonymousId": anonymous,
            "occurredAt": occurred,
            "data": data,
        }
        for mark in {kind, user, anonymous} - {None}:
            yield mark, (resolved, columns)


def _at(killer: Killer, columns: dict[str, Any]) -> Any:
    match killer.place:
        case "data.k":
            return columns["data"].get("k")
        case "a key":
            ((key, _),) = columns["data"].items()
            return key
        case place:
            return columns[place]


def _beside(said: bytes, mark: str, names: Mapping[str, str], driven: Driven) -> bytes:
    """An event between two valid ones."""
    before, after = f"{mark}-before", f"{mark}-after"
    driven.good |= {before, after}
    return b",".join((good(before, names), said, good(after, names)))


def _answered(status: int, body: Mapping[str, Any]) -> Answered:
    code, fields = shape_of(body)
    return Answered(status, code, frozenset(fields))
