"""`merganser forget`, `readmit` and `export` while the processes run."""

import asyncio
import json
from typing import Any

import pytest
from psycopg import AsyncConnection, sql

from merganser.identity import forget as identity
from merganser.identity import store
from merganser.identity.forget import Request
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from tests.support.command import CommandResult, command
from tests.support.database import Database
from tests.support.events import NOON, event
from tests.support.system import System
from tests.support.waiting import equals, eventually

ANN, PHONE, LAPTOP = "ann@example.test", "phone-of-ann", "laptop-of-ann"
REQUEST = Request(ANN, "me", "a request", "all")
SUPPRESSED = "merganser_events_suppressed_total"
UNLINKED = "merganser_events_unlinked_total"
REPEATED = "merganser_resolver_events_repeated_total"
DELETED = "merganser_resolver_events_already_deleted_total"


async def forget(system: System, *options: str, name: str = ANN) -> CommandResult:
    result = await command(system.env, "forget", name, "--reason", "a request", "--yes", *options)
    assert result.status == 0, result.err
    return result


async def assert_audit_agrees(system: System) -> None:
    await system.cli("audit")


async def read_all_rows(database: Database) -> str:
    """Return every row of every table as text."""
    tables = await database.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows: list[Any] = []
    for table in tables:
        cursor = await database.connection.execute(
            sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))
        )
        rows += await cursor.fetchall()
    return "\n".join(text for (text,) in rows)


EXPORTED_KINDS = {
    "profiles": "profile",
    "anonymousIds": "anonymousId",
    "profileMerges": "merge",
    "profileProperties": "property",
    "propertyStates": "propertyState",
    "propertyRecounts": "propertyRecount",
    "profileDecorations": "decoration",
    "setAside": "setAside",
    "events": "event",
    "eventChanges": None,  # guids of events and profiles, deleted within seconds
    "actions": None,  # who exported the person, by the guid of the profile
    "eventData": None,  # exported with its event; the row that names the laptop is Bob's
}
"""Each table that may name a person, with the kind of its rows in an export."""


async def count_rows_naming(database: Database, *names: str | None) -> dict[str, int]:
    """Count the rows of each table that name the person, without Bob's events on Ann's laptop."""
    tables = await database.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    counts: dict[str, int] = {}
    for table in tables:
        cursor = await database.connection.execute(
            sql.SQL(
                "SELECT count(*) FROM {} AS t "
                "WHERE t::text LIKE ANY (%s) AND to_jsonb(t) ->> 'userId' IS DISTINCT FROM 'bob'"
            ).format(sql.Identifier(table)),
            ([f"%{name}%" for name in names],),
        )
        ((count,),) = await cursor.fetchall()
        if count:
            counts[table] = count
    return counts


async def publish_history(system: System) -> None:
    """Publish events of Ann on two devices, and of Bob, who also used her laptop."""
    await system.events.publish_events([event(anonymous=PHONE, path="/start")])
    await eventually(lambda: system.database.count("events"), equals(1))
    await system.events.publish_events(
        [
            event(user=ANN, anonymous=PHONE, kind="sign-in", at=1, card="ann's card"),
            event(user=ANN, anonymous=LAPTOP, kind="sign-in", at=2),
            event(anonymous=LAPTOP, at=3),
            event(user="bob", anonymous=LAPTOP, kind="purchase", at=4, price="7", device=LAPTOP),
            event(user="bob", at=5),
        ]
    )
    await eventually(lambda: system.database.count("events"), equals(6))


async def test_a_forgotten_person_leaves_no_trace_and_is_not_stored_again(system: System) -> None:
    resolver, scanner = await asyncio.gather(system.resolver(), system.scanner())
    await publish_history(system)
    profile = await system.database.profile_of(ANN)
    result = await forget(system)

    stored = await read_all_rows(system.database)
    for trace in (ANN, PHONE, LAPTOP, "ann's card"):
        assert trace not in stored
    assert await count_rows_naming(system.database, profile) == {"erasureLedger": 1}
    assert await system.database.column("SELECT type FROM events ORDER BY type") == [
        "pageview",
        "purchase",
    ]
    await assert_audit_agrees(system)
    (line,) = [line for line in result.log if line["event"] == "person forgotten"]
    assert (line["profile"], line["events"], line["anonymous_ids"]) == (profile, 4, 2)
    assert line["by"]
    assert line["timestamp"]
    assert ANN not in result.err
    assert PHONE not in result.err

    await system.events.publish_events(
        [event(user=ANN), event(anonymous=PHONE), event(user=ANN, anonymous="new-phone")]
    )
    await system.events.publish_events([event(user="bob", anonymous=LAPTOP, at=6)])
    await eventually(lambda: resolver.metric(SUPPRESSED), equals(3))
    await eventually(lambda: resolver.metric(UNLINKED), equals(1))
    await system.database.execute(
        """WITH row AS (INSERT INTO events (type, "userId") VALUES ('refund', %s) RETURNING guid)
        INSERT INTO "eventData" ("eventGuid", key, value) SELECT guid, 'k', 'v' FROM row""",
        ANN,
    )
    await eventually(lambda: scanner.metric(SUPPRESSED), equals(1))
    await system.database.execute(
        """INSERT INTO events (type, "userId", "anonymousId") VALUES ('refund', 'bob', %s)""", PHONE
    )
    await eventually(lambda: scanner.metric(UNLINKED), equals(1))
    assert await system.database.count("events") == 4
    stored = await read_all_rows(system.database)
    for trace in (ANN, PHONE, LAPTOP, "new-phone"):
        assert trace not in stored
    await assert_audit_agrees(system)
    assert {ANN, PHONE, LAPTOP}.isdisjoint((resolver.log + scanner.log).split('"'))


async def test_another_user_of_the_device_keeps_their_events_without_its_id(system: System) -> None:
    gateway, resolver = await asyncio.gather(system.ingest(), system.resolver())
    await publish_history(system)
    await forget(system)

    purchase = {"type": "order", "userId": "bob", "anonymousId": LAPTOP, "messageId": "m-1"}
    await gateway.tracked(**purchase)
    await gateway.tracked(**purchase)  # the client tries again
    for call, body in {
        "identify": {"userId": "bob", "anonymousId": LAPTOP, "traits": {"plan": "pro"}},
        "alias": {"userId": "cat", "previousId": LAPTOP, "anonymousId": "cats-own"},
        "page": {"anonymousId": LAPTOP},
    }.items():
        answer = await gateway.post(f"/v1/{call}", json.dumps(body).encode())
        assert answer.status_code == 200, answer.text
    await eventually(lambda: resolver.metric(SUPPRESSED), equals(1))
    await eventually(lambda: resolver.metric(UNLINKED), equals(3))
    await gateway.tracked(**purchase)  # and much later once more
    await eventually(lambda: resolver.metric(REPEATED), equals(2))
    assert await system.database.grouping() == {
        frozenset({"purchase", "pageview", "order", "identify"}),
        frozenset({"alias"}),
    }
    assert LAPTOP not in await read_all_rows(system.database)
    await assert_audit_agrees(system)
    exported = await command(system.env, "export", "bob")
    assert LAPTOP not in exported.out
    assert sorted(line["type"] for line in exported.lines if line["kind"] == "event") == [
        "identify",
        "order",
        "pageview",
        "purchase",
    ]

    assert (await command(system.env, "readmit", LAPTOP)).status == 0
    await gateway.tracked(**{**purchase, "messageId": "m-2"})
    await gateway.tracked(**purchase)
    await gateway.tracked(type="view", anonymousId=LAPTOP)
    await eventually(lambda: system.database.count("events"), equals(7))
    assert await system.database.rows(
        'SELECT "anonymousId", count(*) FROM events WHERE "profileGuid" = %s GROUP BY 1 ORDER BY 1',
        await system.database.profile_of("bob"),
    ) == [(LAPTOP, 2), (None, 4)]
    await assert_audit_agrees(system)


async def test_a_readmitted_user_gets_a_new_profile(system: System) -> None:
    await system.resolver()
    await publish_history(system)
    await forget(system)
    assert (await command(system.env, "readmit", ANN)).status == 0
    assert (await command(system.env, "readmit", ANN)).status == 1
    await system.events.publish_events([event(user=ANN), event(anonymous=PHONE)])
    await eventually(lambda: system.database.count("events"), equals(3))
    await assert_audit_agrees(system)


async def test_suppressed_says_which_ids_are_suppressed_and_changes_nothing(
    system: System,
) -> None:
    await system.resolver()
    await publish_history(system)
    assert (await command(system.env, "suppressed", ANN)).status == 3
    await forget(system)
    since = await system.database.value('SELECT min("createdAt") FROM "suppressedIds"')
    rows = await read_all_rows(system.database)
    for name, kind in ((ANN, "userId"), (PHONE, "anonymousId")):
        result = await command(system.env, "suppressed", name)
        assert result.status == 0, result.err
        assert result.out == f"suppressed as {kind} since {since.isoformat()}\n"
    result = await command(system.env, "suppressed", ANN, "--json")
    assert result.lines == [
        {"suppressed": True, "suppressions": [{"kind": "userId", "since": since.isoformat()}]}
    ]
    result = await command(system.env, "suppressed", "bob", "--json")
    assert (result.status, result.lines) == (3, [{"suppressed": False, "suppressions": []}])
    no_database = {**system.env, "MERGANSER_DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    assert (await command(no_database, "suppressed", ANN)).status == 1
    assert await read_all_rows(system.database) == rows
    assert (await command(system.env, "readmit", ANN)).status == 0
    assert (await command(system.env, "suppressed", ANN)).status == 3


async def test_without_suppression_the_same_ids_get_new_profiles(system: System) -> None:
    await system.resolver()
    await publish_history(system)
    old = await system.database.profile_of(ANN)
    await forget(system, "--no-suppress", name=old)
    assert await system.database.count("suppressedIds") == 0
    await system.events.publish_events([event(anonymous=PHONE), event(user=ANN, anonymous=LAPTOP)])
    await eventually(lambda: system.database.count("events"), equals(4))
    assert await system.database.profile_of(ANN) != old
    assert (
        await system.database.value(
            'SELECT profiles."userId" FROM "anonymousIds" JOIN profiles '
            'ON profiles.guid = "profileGuid" WHERE "anonymousId" = %s',
            PHONE,
        )
        is None
    )
    await assert_audit_agrees(system)


async def test_without_suppression_a_replay_stores_no_erased_events(system: System) -> None:
    resolver = await system.resolver()
    await publish_history(system)
    await forget(system, "--no-suppress")
    await system.events.publish_events([event(user=ANN, kind="again")])
    await eventually(lambda: system.database.count("events"), equals(3))
    assert (await command(system.env, "replay", "--from", "start", "--yes")).status == 0
    await eventually(lambda: resolver.metric(DELETED), equals(4))
    await eventually(lambda: resolver.metric(REPEATED), equals(3))
    assert sorted(await system.database.column("SELECT type FROM events")) == [
        "again",
        "pageview",
        "purchase",
    ]
    await assert_audit_agrees(system)


@pytest.mark.parametrize("finisher", ["the scanner", "the same command"])
async def test_events_that_a_killed_command_left_are_erased(system: System, finisher: str) -> None:
    await system.resolver()
    await publish_history(system)
    profile = await system.database.profile_of(ANN)
    async with await connect(system.database.url, "test") as connection:
        async with connection.transaction():
            visitors = await identity.suppress_ids(connection, profile, REQUEST, 100)
        while await identity.detach_anonymous_ids(connection, profile, visitors, 100):
            pass
        await assert_audit_agrees(system)
        async with connection.transaction():
            await identity.forget_anonymous_ids(connection, profile, visitors)
        await assert_audit_agrees(system)
        while await identity.forget_merges(connection, profile, 100):
            pass
        await identity.forget_profile(connection, profile)
    assert await system.database.count("events") == 6
    await assert_audit_agrees(system)  # events of an unfinished erasure are not compared
    if finisher == "the scanner":
        await system.scanner()
    else:
        assert "4 events" in (await forget(system)).err
    await eventually(lambda: system.database.count("events"), equals(2))
    await assert_audit_agrees(system)
    assert (await command(system.env, "forget", ANN, "--reason", "why", "--yes")).status == 1


async def test_forget_waits_for_a_planned_batch(system: System) -> None:
    """Otherwise the batch would store events of a profile that no longer exists."""
    await system.resolver()
    await publish_history(system)
    profile = await system.database.profile_of(ANN)
    late = EventIds("evt_late", NOON, ANN, None)
    async with await connect(system.database.url, "planner") as planner:
        async with planner.transaction():
            plan = await store.resolve(planner, [late], 10)
            assert plan.event_profiles == (profile,)
            forgetting = asyncio.create_task(forget(system))
            await eventually(system.database.lock_waits, equals(1))
            await planner.execute(
                'INSERT INTO events (guid, type, "userId", "profileGuid", "occurredAt") '
                "VALUES ('evt_late', 'late', %s, %s, now())",
                (ANN, profile),
            )
        await forgetting
    assert ANN not in await read_all_rows(system.database)
    await assert_audit_agrees(system)


async def test_a_later_batch_waits_and_sees_the_suppressed_ids(database: Database) -> None:
    """Prepared or not, its statements see what was committed while they waited."""
    async with (
        await connect(database.url, "planner") as planner,
        await connect(database.url, "forgetter") as forgetter,
    ):
        for number in range(8):  # psycopg prepares at the fifth time
            async with planner.transaction():
                known = EventIds(f"evt_{number}", NOON, ANN, PHONE)
                (profile,) = (await store.resolve(planner, [known], 10)).event_profiles
        assert profile is not None
        for late in ((ANN, None), (ANN, "tablet"), (None, PHONE)):
            await database.execute('DELETE FROM "suppressedIds"')
            async with forgetter.transaction():
                await identity.suppress_ids(forgetter, profile, REQUEST, 100)
                planning = asyncio.create_task(
                    resolve_profiles(planner, EventIds("evt_late", NOON, *late))
                )
                await eventually(database.lock_waits, equals(1))
            assert await planning == (None,)
        assert await database.column('SELECT "anonymousId" FROM "anonymousIds"') == [PHONE]


async def resolve_profiles(
    connection: AsyncConnection[Any], *events: EventIds
) -> tuple[str | None, ...]:
    async with connection.transaction():
        return (await store.resolve(connection, events, 10)).event_profiles


async def test_without_a_confirmation_nothing_is_erased(system: System) -> None:
    await system.resolver()
    await publish_history(system)
    result = await command(system.env, "forget", ANN, "--reason", "why")
    assert result.status == 1
    assert "4 events and 2 anonymousIds" in result.err
    assert await system.database.count("events") == 6
    assert (await command(system.env, "forget", PHONE, "--reason", "why", "--yes")).status == 1


async def test_an_export_has_everything_that_is_stored(system: System) -> None:
    await system.resolver()
    await publish_history(system)
    await system.database.execute("INSERT INTO events (type, \"userId\") VALUES ('row', %s)", ANN)
    profile = await system.database.profile_of(ANN)
    for table, columns, values in (
        ("profileProperties", "key, value", "'visits', '2'"),
        ("propertyStates", "state, checksum", "'{}', 0"),
        ("propertyRecounts", "state, checksum", "'{}', 0"),
        ("profileDecorations", 'source, "dueAt"', "'crm', now()"),
    ):
        await system.database.execute(
            f'INSERT INTO "{table}" ("profileGuid", {columns}) VALUES (%s, {values})', profile
        )
    result = await command(system.env, "export", ANN)
    assert result.status == 0, result.err
    found: dict[str, list[dict[str, Any]]] = {}
    for line in result.lines:
        found.setdefault(line.pop("kind"), []).append(line)
    assert {kind: len(lines) for kind, lines in found.items()} == {
        kind: count
        for table, count in (
            await count_rows_naming(system.database, ANN, profile, PHONE, LAPTOP)
        ).items()
        if (kind := EXPORTED_KINDS[table])
    }
    assert [row["userId"] for row in found["profile"]] == [ANN]
    assert [row["anonymousId"] for row in found["anonymousId"]] == [LAPTOP, PHONE]
    assert [row["reason"] for row in found["merge"]] == ["claimed"]
    assert [(row["key"], row["value"]) for row in found["property"]] == [("visits", "2")]
    assert sorted(row["type"] for row in found["event"]) == [
        "pageview",
        "pageview",
        "row",
        "sign-in",
        "sign-in",
    ]
    assert {"key": "card", "value": "ann's card"} in [
        pair for row in found["event"] for pair in row["data"]
    ]
    assert "price" not in result.out
    (line,) = result.log
    assert (line["event"], line["profile"], line["lines"]) == ("person exported", profile, 13)
    assert ANN not in result.err
