"""Check that forgotten people left nothing, and that nobody else was forgotten."""

from collections.abc import Collection
from typing import Any

import psycopg
from psycopg import sql

from tests.chaos.corrections import Suppressed
from tests.chaos.ledger import Ledger
from tests.chaos.verdict import Verdict

_SUPPRESSED = """
SELECT id
FROM unnest(%s::text[]) AS ids(id) JOIN "suppressedIds" ON hash = "suppressionHash"(%s, id)
"""

_COLUMNS = """
SELECT table_name, column_name
FROM information_schema.columns
WHERE table_schema = current_schema() AND data_type = 'text' AND table_name <> 'erasureLedger'
    AND (column_name IN ('userId', 'anonymousId', 'subject') OR column_name ~* 'guid$')
"""

_UNPROVEN = """
SELECT encode(hash, 'hex')
FROM "suppressedIds" AS ids
WHERE NOT EXISTS (
    SELECT FROM "erasedIds" JOIN "erasureLedger" AS ledger ON ledger.guid = "erasureGuid"
    WHERE "erasedIds".hash = ids.hash AND suppressed AND "finishedAt" IS NOT NULL
)
UNION ALL
SELECT "profileGuid"
FROM "erasureLedger" AS ledger
WHERE "finishedAt" IS NULL OR NOT EXISTS (
    SELECT FROM "erasureCounts"
    WHERE "erasureGuid" = ledger.guid AND "table" = 'profiles' AND action = 'deleted' AND rows = 1
)
"""
"""Suppressed ids that no finished erasure names, and erasures that did not delete one profile."""


async def read_suppressed(
    verdict: Verdict, connection: psycopg.AsyncConnection[Any], ledger: Ledger
) -> Suppressed:
    """Return the suppressed ids, and report those that should not be, and those that are not.

    An anonymousId may join or leave a person while `merganser forget` runs. Then both results are
    right, so the table decides.
    """
    corrections = ledger.corrections
    events = [ledger.event_of(number) for number in ledger.guids.keys() | ledger.unanswered]
    users = await _suppressed(connection, "userId", {event.user_id for event in events})
    anonymous_ids = await _suppressed(
        connection, "anonymousId", {event.anonymous_id for event in events}
    )
    links = {(event.user_id, event.anonymous_id) for event in events}
    named = {person.user_id for person in corrections.forgotten} - {None}
    visitors = {
        name
        for person in corrections.forgotten
        if person.user_id is None
        for name in person.anonymous_ids
    }
    had = {name for person in corrections.forgotten for name in person.anonymous_ids}
    kept = {
        name
        for person in corrections.forgotten
        for name in person.anonymous_ids
        - person.moved
        - anonymous_ids
        - {*corrections.changed_anonymous_ids[person.link_changes :]}
    }
    # A visitor may have become a user while the command ran: then it forgets the user.
    wrong_users = users - named - {user for user, name in links if name in visitors}
    wrong_ids = anonymous_ids - had - {name for user, name in links if user in users}
    verdict.report("a forgotten userId is not suppressed", map(str, named - users))
    verdict.report("a forgotten anonymousId is not suppressed", kept)
    verdict.report("suppressed but never forgotten", wrong_users | wrong_ids)
    cursor = await connection.execute('SELECT count(*) FROM "suppressedIds"')
    (count,) = await cursor.fetchone() or (0,)
    if count != len(users) + len(anonymous_ids):
        verdict.failures.append(
            f"{count} ids are suppressed: {len(users)} userIds and {len(anonymous_ids)} "
            "anonymousIds of the run, and others"
        )
    return Suppressed(users, anonymous_ids)


async def check_traces(
    verdict: Verdict,
    connection: psycopg.AsyncConnection[Any],
    ledger: Ledger,
    suppressed: Suppressed,
    erased: Collection[str],
) -> None:
    """Report each row that has an id, the profile or an event of a forgotten person.

    Args:
        verdict: gets the failures.
        connection: to the database.
        ledger: of the run.
        suppressed: ids of the forgotten people.
        erased: guids of their events.
    """
    guids = [*erased, *(person.profile for person in ledger.corrections.forgotten)]
    names_of = {"userId": [*suppressed.user_ids], "anonymousId": [*suppressed.anonymous_ids]}
    found = []
    cursor = await connection.execute(_COLUMNS)
    for table, column in await cursor.fetchall():
        query = sql.SQL("SELECT {column} FROM {table} WHERE {column} = ANY(%s)").format(
            column=sql.Identifier(column), table=sql.Identifier(table)
        )
        rows = await connection.execute(query, (names_of.get(column, guids),))
        found += [f"{table}.{column} {value}" for (value,) in await rows.fetchall()]
    verdict.traces = verdict.report("a trace of a forgotten person", found)
    cursor = await connection.execute(_UNPROVEN)
    verdict.report("the ledger of erasures lacks", [name for (name,) in await cursor.fetchall()])


async def _suppressed(
    connection: psycopg.AsyncConnection[Any], kind: str, names: Collection[str | None]
) -> set[str]:
    cursor = await connection.execute(_SUPPRESSED, ([name for name in names if name], kind))
    return {name for (name,) in await cursor.fetchall()}
