"""Compare the database with the ledger and with the definition of identity, row by row."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import psycopg
from aiokafka.errors import KafkaError

from merganser.identity.audit import audit as audit_identity
from properties.audit import audit as audit_properties
from schemas.ids import NOBODY
from tests.chaos.forgotten import check_traces, read_suppressed
from tests.chaos.history import ClientEvent
from tests.chaos.ledger import Ledger
from tests.chaos.verdict import Verdict
from tests.identity.misplaced import misplaced
from tests.identity.reference import SentEvent, grouping
from tests.support import database
from tests.support.database import Database
from tests.support.system import System
from tests.support.waiting import eventually

HOSTILE_GUID = "evt_hostile-"
"""Prefix of the guids of hostile events, which are not in the ledger."""


async def verify(system: System, ledger: Ledger, within: float = 120) -> None:
    """Wait until the system has processed everything, then compare its tables with the ledger.

    Call it when each client has its last answer.

    Raises:
        AssertionError: they differ, or work is left after `within` seconds.
    """
    await wait_until_processed(system, within=within)
    verdict = Verdict()
    async with database.opened(system.database.url) as opened:
        await compare(verdict, opened.connection, ledger)
        await audit(verdict, opened.connection, kinds_of(system))
    if verdict.failures:
        raise AssertionError("\n".join(verdict.failures))


async def wait_until_processed(system: System, within: float, unresolvable: int = 0) -> None:
    """Wait until no record, row or change waits for one of the system's processes.

    Args:
        system: its servers answer again.
        within: seconds.
        unresolvable: number of rows that never get a profile, as they have no usable id.

    Raises:
        AssertionError: work is left.
    """
    async with database.opened(system.database.url) as opened:
        await eventually(
            lambda: unfinished_work(system, opened, unresolvable),
            lambda left: not left,
            within=within,
            what="nothing is left to process",
        )


async def unfinished_work(system: System, opened: Database, unresolvable: int) -> str:
    """Describe the work that is left; return the empty string if there is none."""
    try:
        ends = await system.events.ends()
    except KafkaError as error:
        return f"an answer of Kafka: {error!r}"
    kinds = kinds_of(system)
    read = dict(await opened.rows('SELECT partition, "nextOffset" FROM "consumerOffsets"'))
    set_aside = await opened.value(
        """SELECT count(*) FROM "setAside" WHERE kind = 'row' AND state = 'open'"""
    )
    left = {
        "records of the topic": sum(end - read.get(number, 0) for number, end in ends.items()),
        "rows without a profile": await opened.unresolved() - set_aside - unresolvable,
        "moves": await opened.count("eventMoves"),
        "erasures": await opened.count("erasures"),
    }
    if "properties" in kinds:
        left["event changes for properties"] = await opened.count("eventChanges")
        left["profiles to count again"] = await opened.count("propertyRecounts")
    if "decoration" in kinds:
        left["profiles to decorate"] = await opened.value(
            """SELECT count(*) FROM "profileDecorations" WHERE "dueAt" <= now()"""
        )
    return ", ".join(f"{count:,} {what}" for what, count in left.items() if count > 0)


def kinds_of(system: System) -> set[str]:
    """Return the kinds of processes that a system has."""
    return {service.kind for service in system.services}


async def compare(
    verdict: Verdict,
    connection: psycopg.AsyncConnection[Any],
    ledger: Ledger,
) -> set[str]:
    """Compare each row of events and of their data with what clients sent.

    Each acknowledged event must be stored once, as sent, on the profile that the definition says;
    but no event and no id of forgotten people.

    Returns:
        Guids of acknowledged events that must not be stored, as they are of forgotten people.
    """
    suppressed = await read_suppressed(verdict, connection, ledger)
    number_of = {guid: number for number, guid in ledger.guids.items()}
    stored_times: Counter[int] = Counter()
    profiles: dict[str, str | None] = {}
    sent: list[SentEvent] = []
    altered, never_sent, kept = [], [], []
    async with connection.transaction(), connection.cursor("events") as cursor:
        await cursor.execute(
            'SELECT events.guid, type, "userId", "anonymousId", "occurredAt", '
            'CASE WHEN keys.guid IS NOT NULL THEN events."createdAt" END, "profileGuid", ARRAY('
            'SELECT ARRAY[key, value] FROM "eventData" WHERE "eventGuid" = events.guid) '
            'FROM events LEFT JOIN "apiKeys" AS keys '
            """ON keys.guid = events."producerGuid" AND keys.kind = 'publishable' """
            "WHERE NOT starts_with(events.guid, %s)",
            (HOSTILE_GUID,),
        )
        async for guid, *fields, received_at, profile, data in cursor:
            number = number_of.get(guid, _number_in(data, ledger))
            if number is None:
                never_sent.append(guid)
                continue
            stored_times[number] += 1
            event = suppressed.admit(ledger.event_of(number))
            if event is None:
                kept.append(guid)
                continue
            profiles[guid] = profile
            sent.append(
                SentEvent(guid, event.occurred_at, event.user_id, event.anonymous_id, received_at)
            )
            if difference := _difference(event, fields, data):
                altered.append(f"{guid}: {difference}")
            if event.received_at and received_at != event.received_at:
                altered.append(f"{guid}: createdAt {received_at}, first {event.received_at}")
    erased = {
        guid
        for number, guid in ledger.guids.items()
        if suppressed.admit(ledger.event_of(number)) is None
    }
    verdict.acknowledged, verdict.stored = len(ledger), stored_times.total() + len(never_sent)
    verdict.missing = verdict.report(
        "missing",
        (
            guid
            for number, guid in ledger.guids.items()
            if not stored_times[number] and guid not in erased
        ),
    )
    verdict.erased, verdict.kept = len(erased), verdict.report("of a forgotten person", kept)
    verdict.duplicated = verdict.report(
        "stored more than once",
        (f"event {n}, {ledger.guids.get(n)}" for n, times in stored_times.items() if times > 1),
    )
    verdict.altered = verdict.report("altered", altered)
    verdict.never_sent = verdict.report("never sent", never_sent)
    verdict.misplaced = verdict.report(
        "misplaced", misplaced(profiles, grouping(sent, ledger.corrections.ignored_links))
    )
    await _check_ignored_links(verdict, connection, ledger, profiles.keys())
    await check_traces(verdict, connection, ledger, suppressed, erased)
    verdict.report("an answer", ledger.unexpected)
    return erased


async def _check_ignored_links(
    verdict: Verdict,
    connection: psycopg.AsyncConnection[Any],
    ledger: Ledger,
    stored: Collection[str],
) -> None:
    """Compare the ignored links with the operator's changes; erased events have none."""
    corrections = ledger.corrections
    verdict.unlinks, verdict.relinks = corrections.unlinks, corrections.relinks
    verdict.forgotten, verdict.interrupted = len(corrections.forgotten), corrections.killed
    rows = await connection.execute('SELECT "eventGuid" FROM "ignoredLinks"')
    ignored = {guid for (guid,) in await rows.fetchall()}
    expected = corrections.ignored_links.keys() & stored
    verdict.report("ignored or not", (ignored ^ expected) - corrections.unknown_links)


def _number_in(data: list[list[str]], ledger: Ledger) -> int | None:
    """Return the number in an event's data, if such an event may have a guid that no client got."""
    text = dict(data).get("number", "")
    number = int(text) if text.isdecimal() else -1
    return number if number in ledger.unanswered or number in ledger.guids else None


def _difference(event: ClientEvent, fields: list[Any], data: list[list[str]]) -> str:
    """Describe how a stored event differs from the sent one; empty if it does not."""
    sent = [event.type, event.user_id, event.anonymous_id, event.occurred_at]
    rows = sorted((key, value) for key, value in data)
    expected = sorted(event.stored_data().items())
    if fields != sent:
        return f"{fields}, sent {sent}"
    return "" if rows == expected else f"data {rows}, sent {expected}"


_OTHER_USER = """
SELECT events.guid FROM events JOIN profiles ON profiles.guid = "profileGuid"
WHERE events."userId" <> profiles."userId" AND lower(events."userId") <> ALL(%s)
    AND NOT starts_with(events.guid, %s)
"""


async def audit(
    verdict: Verdict, connection: psycopg.AsyncConnection[Any], kinds: Collection[str]
) -> None:
    """Check the tables without the ledger: identity, properties, and rows that belong together.

    Args:
        verdict: gets the failures.
        connection: to the database.
        kinds: the kinds of processes that the system has.
    """
    cursor = await connection.execute(
        'SELECT (SELECT count(*) FROM profiles), (SELECT count(*) FROM "profileMerges"), ('
        'SELECT count(*) FROM "eventData" WHERE NOT EXISTS ('
        'SELECT FROM events WHERE guid = "eventGuid"))'
    )
    verdict.profiles, verdict.merges, orphans = await cursor.fetchone() or (0, 0, 0)
    if orphans:
        verdict.failures.append(f"{orphans} rows of eventData belong to no event")
    cursor = await connection.execute(_OTHER_USER, (list(NOBODY), HOSTILE_GUID))
    verdict.report("on the profile of another user", [guid for (guid,) in await cursor.fetchall()])
    identity = await audit_identity(connection, NOBODY, lambda _: None)
    verdict.report("audit", map(str, identity.disagreements))
    if "properties" in kinds:
        properties = await audit_properties(connection, datetime.now(UTC), lambda _: None)
        verdict.report("audit of properties", map(str, properties.disagreements))
        if properties.profiles == 0 or properties.pending:
            verdict.failures.append(f"audit of properties: {properties}")
