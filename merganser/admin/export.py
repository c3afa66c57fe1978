"""Export everything stored about a person as JSON lines (`merganser export`).

The SQL reads tables that other folders own: an export has the rows of all of them in one snapshot.
"""

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import structlog
from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_connection
from merganser.admin.dead_letters.letter_ids import read_ids
from merganser.admin.dead_letters.letters import find_erased_letters
from merganser.admin.dead_letters.set_aside_items import ItemSelection, SetAsideItem, read_items
from merganser.admin.dead_letters.topic import DeadTopicRecord, LetterSelection, read_topic
from merganser.admin.forget import PersonNotFound
from merganser.identity import forget as identity
from merganser.identity.person_ids import PersonIds, read_person_ids
from merganser.runtime import kafka, sql
from merganser.runtime.set_aside import Kind
from merganser.runtime.settings import Settings
from schemas.dead_letter import DeadLetter

log = structlog.get_logger(__name__)

_SQL = sql.load(__package__, "export.sql")

FETCH_SIZE = 500
"""Rows held in memory at a time."""

READER_SECONDS = 300
"""How long the reader of an export may take for the rows in memory, before Postgres ends it."""


async def export_person(settings: Settings, actor: Actor, name: str) -> AsyncGenerator[str, None]:
    """Yield a JSON object for each thing stored about a person, as a line with its line feed.

    `kind` says what an object is: profile, anonymousId, merge, linkChange, ignoredLink, property,
    propertyState, propertyRecount, decoration, event, setAside or deadLetter. An event's `data` is
    a list of key-value objects, as a key may occur twice. The rows are from one snapshot; the dead
    letters are those that Kafka has a moment later.

    Args:
        settings: the database's URL, and where the topic of dead letters is.
        actor: who gets the export.
        name: a userId or the guid of a profile.

    Raises:
        PersonNotFound: no profile has this userId or guid.
        KafkaError: the brokers cannot be reached, or have no topic of dead letters.
    """
    async with open_connection(settings, "export") as connection:
        person = await identity.find_person(connection, name)
        if person is None:
            raise PersonNotFound
        await kafka.cluster_id(settings)  # if Kafka is away, fail before the first line
        ids = await read_person_ids(connection, person.profile)
        # Before the first line: the reader may have most of them, and break off.
        await record_action(connection, actor, "person exported", subject=person.profile)
        written = 0
        async for line in _read_rows(connection, person.profile, ids):
            written += 1
            yield line + "\n"
        async for line in _read_letters(connection, settings, ids):
            written += 1
            yield line + "\n"
    log.info("person exported", profile=person.profile, by=actor.name, lines=written)


async def _read_rows(
    connection: AsyncConnection[Any], profile: str, ids: PersonIds
) -> AsyncIterator[str]:
    """Yield JSON objects, all from one snapshot. Takes no locks."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await connection.execute(
            f"SET LOCAL idle_in_transaction_session_timeout = '{READER_SECONDS}s'"
        )
        for name, statement in _SQL.items():
            async with connection.cursor(f"export_{name}") as cursor:
                cursor.itersize = FETCH_SIZE
                await cursor.execute(statement, {"profile": profile})
                async for (line,) in cursor:
                    yield line
        for resolved in (False, True):
            for item in await read_items(
                connection, ItemSelection([*Kind], person=ids), resolved=resolved
            ):
                yield _item_line(item)


async def _read_letters(
    connection: AsyncConnection[Any], settings: Settings, ids: PersonIds
) -> AsyncIterator[str]:
    """Yield the dead letters of a person.

    Another user's letters from a shared device are not the person's, nor are those from before an
    erasure of the same ids.
    """
    async for records in read_topic(settings, LetterSelection(person=ids)):
        erased = await find_erased_letters(connection, settings, records)
        for record in records:
            letter = record.letter
            if isinstance(letter, DeadLetter) and record.address not in erased:
                owner = read_ids(letter, settings.nobody_ids).of_owner()
                if owner.names(ids):
                    yield _letter_line(record, letter)


def _item_line(item: SetAsideItem) -> str:
    return json.dumps(
        {
            "kind": "setAside",
            "item": str(item.name),
            "place": item.place,
            "reason": item.reason,
            "attempts": item.attempts,
            "state": item.state,
            "createdAt": item.created_at.isoformat(),
            "updatedAt": item.updated_at.isoformat(),
        }
    )


def _letter_line(record: DeadTopicRecord, letter: DeadLetter) -> str:
    return json.dumps(
        {
            "kind": "deadLetter",
            "letter": str(record.address),
            "writtenAt": record.written_at.isoformat(),
            "reason": letter.reason,
            "error": letter.error,
            "key": _readable(letter.key),
            "value": _readable(letter.value),
            "headers": [{"key": key, "value": _readable(value)} for key, value in letter.headers],
        }
    )


def _readable(data: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as text, or in Base64 if they are not UTF-8."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
