"""Send the whole table over every way in, each bad value beside valid events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import psycopg
from psycopg import sql

from schemas import event as wire
from tests.bad_input.bad_values import BAD_VALUES, BadValue
from tests.bad_input.bodies import BODIES
from tests.bad_input.encoding import OWN, SEGMENT, as_event, as_record, as_row, good
from tests.bad_input.outcomes import Denied, Outcome, Stored, Unresolved
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

_NUMBER = {str(bad_value): number for number, bad_value in enumerate(BAD_VALUES)}


@dataclass(frozen=True)
class Answered:
    """A refusal as its sender reads it."""

    status: int
    code: str
    fields: frozenset[str]


@dataclass
class Results:
    """What came of each bad value on each way."""

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

    def of(self, way: Way, bad_value: BadValue) -> Outcome | Answered | Record | None:
        """What came of it; None: nothing, it is lost."""
        mark = mark_of(way, bad_value)
        if refused := self.answered.get(mark):
            return refused
        if letter := self.letters.get(mark):
            return letter
        if mark not in self.stored:
            return None
        resolved, columns = self.stored[mark]
        return Stored(_at(bad_value, columns)) if resolved else Unresolved()


def mark_of(way: Way, bad_value: BadValue) -> str:
    """The id of a bad value's event, by which it is found again."""
    return f"{way}-{_NUMBER[str(bad_value)]}"


async def send_all(system: System) -> Results:
    """Send all, wait until nothing is left to do, and look."""
    results = Results()
    gateway, resolver, scanner = await asyncio.gather(
        system.ingest(), system.resolver(), system.scanner()
    )
    await _rows(system.database, results)
    await _topic(system, results)
    async with httpx.AsyncClient(
        base_url=gateway.url, headers={"authorization": f"Bearer {gateway.key}"}, timeout=60
    ) as client:
        await _each(lambda bad_value: _alone(client, bad_value, results))
        await _each(lambda bad_value: _batch(client, bad_value, results))
        await _each(lambda bad_value: _segment(client, bad_value, results))
    await _settled(system)
    results.letters = {
        (letter.key or b"").decode(): letter for letter in await system.dead.records()
    }
    results.stored = {mark: found async for mark, found in _found(system.database)}
    results.log = gateway.log_lines + resolver.log_lines + scanner.log_lines
    return results


async def _each(send: Callable[[BadValue], Awaitable[None]]) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(bad_value: BadValue) -> None:
        async with room:
            await send(bad_value)

    await asyncio.gather(*map(one, BAD_VALUES))


async def _alone(client: httpx.AsyncClient, bad_value: BadValue, results: Results) -> None:
    mark = mark_of("alone", bad_value)
    body = as_event(bad_value, mark)
    answer = await client.post("/api/v1/track", content=body)
    if answer.status_code != 200:
        results.answered[mark] = _answered(answer.status_code, answer.json())


async def _batch(client: httpx.AsyncClient, bad_value: BadValue, results: Results) -> None:
    mark = mark_of("batch", bad_value)
    body = b'{"events":[%s]}' % _beside(as_event(bad_value, mark), mark, OWN, results)
    answer = await client.post("/api/v1/batch", content=body)
    assert answer.status_code == 200, f"{bad_value}: {answer.text}"
    before, result, after = answer.json()["events"]
    assert before["success"], bad_value
    assert after["success"], bad_value
    if not result["success"]:
        results.answered[mark] = _answered(200, result)


async def _segment(client: httpx.AsyncClient, bad_value: BadValue, results: Results) -> None:
    mark = mark_of("segment", bad_value)
    body = b'{"batch":[%s]}' % _beside(as_event(bad_value, mark, SEGMENT), mark, SEGMENT, results)
    answer = await client.post("/v1/batch", content=body)
    assert answer.status_code == 200, f"{bad_value}: {answer.text}"
    for rejected in answer.json().get("rejected", []):
        assert rejected["index"] == 1, bad_value
        results.answered[mark] = _answered(200, rejected)


async def _topic(system: System, results: Results) -> None:
    """All in one partition, so that one fetch of the resolver has many of them."""
    records = []
    for bad_value in BAD_VALUES:
        mark = mark_of("topic", bad_value)
        results.good.add(f"{mark}-good")
        neighbour = record_of(event(f"{mark}-good", kind="good"))._replace(partition=0)
        records += [neighbour, *([as_record(bad_value, mark)] if bad_value.topic else [])]
    version = dict([wire.VERSION_HEADER])
    bodies = [Record(body.raw, str(body).encode(), version, partition=0) for body in RECORDS]
    await system.events.publish(*records, *bodies)


async def _rows(database: Database, results: Results) -> None:
    for bad_value in BAD_VALUES:
        mark = mark_of("row", bad_value)
        results.good.add(f"{mark}-good")
        await database.execute(
            """INSERT INTO events (type, "userId") VALUES ('good', %s)""", f"{mark}-good"
        )
        if bad_value.row:
            try:
                await _insert(database, *as_row(bad_value, mark))
            except psycopg.Error as error:
                results.answered[mark] = Denied(error.sqlstate or "")


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
    waiting = sum(isinstance(bad_value.row, Unresolved) for bad_value in BAD_VALUES)
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


def _at(bad_value: BadValue, columns: dict[str, Any]) -> Any:
    match bad_value.place:
        case "data.k":
            return columns["data"].get("k")
        case "a key":
            ((key, _),) = columns["data"].items()
            return key
        case place:
            return columns[place]


def _beside(said: bytes, mark: str, names: Mapping[str, str], results: Results) -> bytes:
    """An event between two valid ones."""
    before, after = f"{mark}-before", f"{mark}-after"
    results.good |= {before, after}
    return b",".join((good(before, names), said, good(after, names)))


def _answered(status: int, body: Mapping[str, Any]) -> Answered:
    code, fields = shape_of(body)
    return Answered(status, code, frozenset(fields))
