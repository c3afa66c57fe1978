"""`merganser forget` leaves no trace of a person in any column of any table; other rows stay."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.admin.persons import (
    AGES,
    ANN,
    BOB,
    DOCUMENTED,
    PLANS,
    Person,
    apply_rules,
    find_traces,
    linked,
    read_tables,
)
from tests.decoration.harness import query, url_of
from tests.properties.harness import COUNT, PATHS
from tests.support.command import command
from tests.support.database import Database
from tests.support.events import event
from tests.support.failing_triggers import failing_triggers
from tests.support.system import System
from tests.support.waiting import equals, eventually

PAGE_KEY = "key_page"
FORBIDDEN = "forbidden 23514"
"""The type of events that Postgres refuses to resolve."""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BOOKKEEPING = {
    *("deletedEvents", "suppressedIds", "erasureLedger", "erasedIds", "erasureCounts"),
    *("consumerOffsets", "propertySourceStates", "actions"),
}
"""Tables that get or change rows that are of no person."""


async def publish_history(system: System, person: Person) -> list[str]:
    """Publish events of a person with four devices; return their guids.

    The tablet is linked by a publishable key. The link of the watch is long ago.
    """
    devices = [
        event(None, device, "view", path=person.mark, device=device)
        for device in (person.phone, person.laptop, person.tablet)
    ]
    unlinked = event(None, person.watch, "view", path="of the watch")
    await system.events.publish_events([*devices, unlinked])
    await system.consumed()
    tablet_link, watch_link = linked(person, person.tablet, 3), linked(person, person.watch, 3)
    tablet_link["producerGuid"] = PAGE_KEY
    watch_link["createdAt"] = watch_link["occurredAt"] = LONG_AGO
    events = [
        linked(person, person.phone, 1),
        linked(person, person.laptop, 2),
        tablet_link,
        watch_link,
        event(person.user_id, None, "view", 4, path=person.mark),
    ]
    for published in events:
        await system.events.publish_events([published])
        await system.consumed()
    refused = event(person.user_id, person.phone, FORBIDDEN, 5, note=person.mark)
    await system.events.publish_events([refused])
    row = await system.database.value(
        'INSERT INTO events (type, "userId", "anonymousId") VALUES (%s, %s, %s) RETURNING guid',
        FORBIDDEN,
        person.user_id,
        person.phone,
    )
    visit = await system.database.value(
        'INSERT INTO events (type, "anonymousId") VALUES (%s, %s) RETURNING guid',
        FORBIDDEN,
        person.laptop,
    )
    for guid in (row, visit):
        await system.database.execute(
            'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
            guid,
            "note",
            person.mark,
        )
    for link in (tablet_link, watch_link):
        await system.cli("unlink", link["guid"], "--reason", "shared", "--yes")
    await system.cli("relink", tablet_link["guid"], "--reason", "not shared", "--yes")
    return [*(stored["guid"] for stored in (*devices, *events, refused)), row, visit]


def rows_of_others(
    tables: dict[str, list[dict[str, str]]], traces: Iterable[str]
) -> dict[str, list[Any]]:
    """Return the rows that name none of the traces, sorted, by table."""
    found = list(traces)
    return {
        table: sorted(sorted(row.items()) for row in rows if not find_traces({table: [row]}, found))
        for table, rows in tables.items()
        if table not in BOOKKEEPING
    }


async def read_traces(database: Database, person: Person, events: list[str]) -> set[str]:
    """Return all texts by which a row can name a person, without the watch, which was unlinked."""
    guids = await database.column(
        """
        SELECT guid FROM profiles WHERE "userId" = %(user)s
        UNION
        SELECT "loserGuid" FROM "profileMerges" WHERE "userId" = %(user)s AND reason = 'merged'
        """.replace("%(user)s", "%s"),
        person.user_id,
        person.user_id,
    )
    return {person.user_id, person.phone, person.laptop, person.tablet, *guids, *events}


async def test_no_column_of_any_table_keeps_a_trace(
    system: System, source_database: Database
) -> None:
    database = system.database
    await database.execute(
        'INSERT INTO "apiKeys" (guid, name, "keyHash", permissions, kind) '
        "VALUES (%s, 'page', 'hash', '{events:write}', 'publishable')",
        PAGE_KEY,
    )
    await database.connection.execute(failing_triggers(FORBIDDEN))
    system.env["CRM_URL"] = url_of(source_database.url)
    await apply_rules(database, COUNT, PATHS, query("plan", sql=PLANS), query("age", sql=AGES))
    processes = [
        await system.resolver(),
        await system.scanner(),
        await system.properties(),
        await system.decoration(),
    ]
    await system.events.publish_events([event("cat")])
    events = {person: await publish_history(system, person) for person in (ANN, BOB)}
    # Each person: a dead letter, two rows, and a value of the source that cannot be read.
    await eventually(lambda: database.count("setAside"), equals(8))
    await eventually(lambda: database.count("eventChanges"), equals(0))
    await eventually(lambda: database.count("propertyRecounts"), equals(0))
    await system.cli("prune", "--older-than", "1500d")
    await eventually(lambda: database.count("eventChanges"), equals(0))
    for process in processes:
        await process.stop()
    for person in (ANN, BOB):
        profile = await database.profile_of(person.user_id)
        await database.execute(
            "INSERT INTO \"setAside\" (kind, subject, reason) VALUES ('profile', %s, 'a reason')",
            profile,
        )
        await database.execute(
            'INSERT INTO "propertyRecounts" ("profileGuid") VALUES (%s)', profile
        )

    traces = await read_traces(database, ANN, events[ANN])
    before = await read_tables(database)
    filled = {table for table, _ in find_traces(before, {*traces, ANN.mark})}
    assert filled >= {
        *("events", "eventData", "profiles", "anonymousIds", "profileMerges", "ignoredLinks"),
        *("linkChanges", "setAside", "profileProperties", "propertyStates", "propertyRecounts"),
        "profileDecorations",
    }
    others = rows_of_others(before, {*traces, ANN.mark})
    forgotten = await command(system.env, "forget", ANN.user_id, "--reason", "asked", "--yes")
    assert forgotten.status == 0, forgotten.err

    after = await read_tables(database)
    found = find_traces(after, {*traces, ANN.mark})
    assert rows_of_others(after, {*traces, ANN.mark}) == others
    assert {table for table, _ in found} <= {*DOCUMENTED, "eventChanges"}, found
    await system.properties()
    await eventually(lambda: database.count("eventChanges"), equals(0))
    after = await read_tables(database)
    assert find_traces(after, {*traces, ANN.mark}) <= {*DOCUMENTED.items()}


async def test_rows_that_are_not_resolved_are_erased_or_lose_the_anonymous_id(
    system: System,
) -> None:
    """No scanner runs, as if these rows were set aside."""
    database = system.database
    await system.resolver()
    await system.events.publish_events([linked(ANN, ANN.phone, 1), event("bob", at=1)])
    await system.consumed()
    rows: list[tuple[str, str | None, str | None]] = [
        ("evt_by_user", ANN.user_id, None),
        ("evt_by_new_device", ANN.user_id, "new device"),
        ("evt_by_device", None, ANN.phone),
        ("evt_by_placeholder", " NULL", ANN.phone),
        ("evt_of_bob", "bob", ANN.phone),
        ("evt_of_new_user", "cat", ANN.phone),
        ("evt_of_other_device", None, "other device"),
    ]
    for guid, user_id, anonymous_id in rows:
        await database.execute(
            'INSERT INTO events (guid, type, "userId", "anonymousId") VALUES (%s, %s, %s, %s)',
            guid,
            "row",
            user_id,
            anonymous_id,
        )
        for key, value in (("device", anonymous_id or ""), ("price", "7")):
            await database.execute(
                'INSERT INTO "eventData" ("eventGuid", key, value) VALUES (%s, %s, %s)',
                guid,
                key,
                value,
            )
    forgotten = await command(system.env, "forget", ANN.user_id, "--reason", "asked", "--yes")
    assert forgotten.status == 0, forgotten.err
    assert await database.rows(
        """
        SELECT events.guid, "userId", "anonymousId", array_agg(key ORDER BY key)
        FROM events JOIN "eventData" AS data ON data."eventGuid" = events.guid
        WHERE type = 'row' GROUP BY 1 ORDER BY 1
        """
    ) == [
        ("evt_of_bob", "bob", None, ["price"]),
        ("evt_of_new_user", "cat", None, ["price"]),
        ("evt_of_other_device", None, "other device", ["device", "price"]),
    ]


async def test_a_profile_that_was_merged_while_there_was_no_rule_leaves_no_state(
    system: System,
) -> None:
    database = system.database
    await apply_rules(database, COUNT, PATHS)
    await system.resolver()
    await system.properties()
    await system.events.publish_events(
        [event(None, ANN.phone, "view", path=ANN.mark), linked(ANN, ANN.laptop, 1)]
    )
    await eventually(lambda: database.count("propertyStates"), equals(1))
    await apply_rules(database)
    await system.events.publish_events([linked(ANN, ANN.phone, 2)])
    await eventually(lambda: database.count("profiles"), equals(1))
    forgotten = await command(system.env, "forget", ANN.user_id, "--reason", "asked", "--yes")
    assert forgotten.status == 0, forgotten.err
    assert find_traces(await read_tables(database), {*ANN}) == set()
    assert await database.count("propertyStates") == 0
