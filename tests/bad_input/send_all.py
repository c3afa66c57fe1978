"""Send all bad values over every channel, each among valid events."""

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
from tests.bad_input.encoding import NATIVE, SEGMENT, as_event, as_record, as_row, good
from tests.bad_input.outcomes import Outcome, RefusedByPostgres, Stored, Unresolved
from tests.support.database import Database
from tests.support.events import event
from tests.support.refusals import shape_of
from tests.support.system import System
from tests.support.topics import Record, record_of
from tests.support.waiting import equals, eventually

Channel = Literal["alone", "batch", "segment", "topic", "row"]

MAX_CONCURRENT = 8
"""Requests at the same time."""

RECORDS = [body for body in BODIES if len(body.raw) < 100_000 or str(body) == "1 MiB"]
"""Bodies that are also published as records."""

_NUMBER = {str(bad_value): number for number, bad_value in enumerate(BAD_VALUES)}


@dataclass(frozen=True)
class ErrorResponse:
    """A refusal as the client gets it."""

    status: int
    code: str
    fields: frozenset[str]


@dataclass
class Results:
    """The outcome of each bad value on each channel."""

    refused: dict[str, ErrorResponse | RefusedByPostgres] = field(default_factory=dict)
    """Refusals by mark."""
    letters: dict[str, Record] = field(default_factory=dict)
    """Dead letters by mark."""
    stored: dict[str, tuple[bool, dict[str, Any]]] = field(default_factory=dict)
    """For each mark, whether the event has a profile, and its columns with its data."""
    good: set[str] = field(default_factory=set)
    """The marks of the valid events."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """Log lines of all processes."""

    def of(self, channel: Channel, bad_value: BadValue) -> Outcome | ErrorResponse | Record | None:
        """Return the outcome of a bad value; None if it is lost."""
        mark = mark_of(channel, bad_value)
        if refusal := self.refused.get(mark):
            return refusal
        if letter := self.letters.get(mark):
            return letter
        if mark not in self.stored:
            return None
        resolved, columns = self.stored[mark]
        return Stored(_select_field(bad_value, columns)) if resolved else Unresolved()


def mark_of(channel: Channel, bad_value: BadValue) -> str:
    """Return the id that identifies the event of a bad value."""
    return f"{channel}-{_NUMBER[str(bad_value)]}"


async def send_all(system: System) -> Results:
    """Send all bad values, wait until all are processed, and return the results."""
    results = Results()
    gateway, resolver, scanner = await asyncio.gather(
        system.ingest(), system.resolver(), system.scanner()
    )
    await _insert_rows(system.database, results)
    await _publish(system, results)
    async with httpx.AsyncClient(
        base_url=gateway.url, headers={"authorization": f"Bearer {gateway.key}"}, timeout=60
    ) as client:
        await _send_each(lambda bad_value: _send_alone(client, bad_value, results))
        await _send_each(lambda bad_value: _send_in_batch(client, bad_value, results))
        await _send_each(lambda bad_value: _send_to_segment(client, bad_value, results))
    await _wait_until_processed(system)
    results.letters = {
        (letter.key or b"").decode(): letter for letter in await system.dead.records()
    }
    results.stored = {mark: found async for mark, found in _read_stored(system.database)}
    results.log = gateway.log_lines + resolver.log_lines + scanner.log_lines
    return results


async def _send_each(send: Callable[[BadValue], Awaitable[None]]) -> None:
    semaphore = asyncio.Semaphore(MAX_CONCURRENT)

    async def send_one(bad_value: BadValue) -> None:
        async with semaphore:
            await send(bad_value)

    await asyncio.gather(*map(send_one, BAD_VALUES))


async def _send_alone(client: httpx.AsyncClient, bad_value: BadValue, results: Results) -> None:
    mark = mark_of("alone", bad_value)
    body = as_event(bad_value, mark)
    answer = await client.post("/api/v1/track", content=body)
    if answer.status_code != 200:
        results.refused[mark] = _read_refusal(answer.status_code, answer.json())


async def _send_in_batch(client: httpx.AsyncClient, bad_value: BadValue, results: Results) -> None:
    mark = mark_of("batch", bad_value)
    body = b'{"events":[%s]}' % _surround(as_event(bad_value, mark), mark, NATIVE, results)
    answer = await client.post("/api/v1/batch", content=body)
    assert answer.status_code == 200, f"{bad_value}: {answer.text}"
    before, result, after = answer.json()["events"]
    assert before["success"], bad_value
    assert after["success"], bad_value
    if not result["success"]:
        results.refused[mark] = _read_refusal(200, result)


async def _send_to_segment(
    client: httpx.AsyncClient, bad_value: BadValue, results: Results
) -> None:
    mark = mark_of("segment", bad_value)
    body = b'{"batch":[%s]}' % _surround(as_event(bad_value, mark, SEGMENT), mark, SEGMENT, results)
    answer = await client.post("/v1/batch", content=body)
    assert answer.status_code == 200, f"{bad_value}: {answer.text}"
    for rejected in answer.json().get("rejected", []):
        assert rejected["index"] == 1, bad_value
        results.refused[mark] = _read_refusal(200, rejected)


async def _publish(system: System, results: Results) -> None:
    """Publish to one partition, so that one fetch of the resolver has many bad records."""
    records = []
    for bad_value in BAD_VALUES:
        mark = mark_of("topic", bad_value)
        results.good.add(f"{mark}-good")
        valid = record_of(event(f"{mark}-good", kind="good"))._replace(partition=0)
        records += [valid, *([as_record(bad_value, mark)] if bad_value.topic else [])]
    version = dict([wire.VERSION_HEADER])
    bodies = [Record(body.raw, str(body).encode(), version, partition=0) for body in RECORDS]
    await system.events.publish(*records, *bodies)


async def _insert_rows(database: Database, results: Results) -> None:
    for bad_value in BAD_VALUES:
        mark = mark_of("row", bad_value)
        results.good.add(f"{mark}-good")
        await database.execute(
            """INSERT INTO events (type, "userId") VALUES ('good', %s)""", f"{mark}-good"
        )
        if bad_value.row:
            try:
                await _insert_row(database, *as_row(bad_value, mark))
            except psycopg.Error as error:
                results.refused[mark] = RefusedByPostgres(error.sqlstate or "")


async def _insert_row(
    database: Database, columns: Mapping[str, bytes], data: Mapping[bytes, bytes]
) -> None:
    """Insert a row from bytes, so that Postgres and not its client decides what is valid text."""
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


async def _wait_until_processed(system: System) -> None:
    """Wait until the resolver has processed all records and the scanner all rows."""
    await system.consumed()
    waiting = sum(isinstance(bad_value.row, Unresolved) for bad_value in BAD_VALUES)
    await eventually(system.database.unresolved, equals(waiting))


async def _read_stored(
    database: Database,
) -> AsyncIterator[tuple[str, tuple[bool, dict[str, Any]]]]:
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


def _select_field(bad_value: BadValue, columns: dict[str, Any]) -> Any:
    match bad_value.field:
        case "data.k":
            return columns["data"].get("k")
        case "a key":
            ((key, _),) = columns["data"].items()
            return key
        case field:
            return columns[field]


def _surround(bad_event: bytes, mark: str, names: Mapping[str, str], results: Results) -> bytes:
    """Return an event between two valid ones."""
    before, after = f"{mark}-before", f"{mark}-after"
    results.good |= {before, after}
    return b",".join((good(before, names), bad_event, good(after, names)))


def _read_refusal(status: int, body: Mapping[str, Any]) -> ErrorResponse:
    code, fields = shape_of(body)
    return ErrorResponse(status, code, frozenset(fields))
