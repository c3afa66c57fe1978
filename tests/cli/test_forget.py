"""`merganser forget`, `readmit` and `export`, beside the processes that go on working."""

import asyncio
import json
from typing import Any

import pytest
from psycopg import AsyncConnection, sql

from merganser.identity import forget as steps
from merganser.identity import store
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from tests.support.command import Ended, command
from tests.support.database import Database
from tests.support.events import NOON, event
from tests.support.system import System
from tests.support.waiting import equals, eventually

ANN, PHONE, LAPTOP = "ann@example.test", "phone-of-ann", "laptop-of-ann"
SUPPRESSED = "merganser_events_suppressed_total"
UNLINKED = "merganser_events_unlinked_total"
REPEATED = "merganser_resolver_events_repeated_total"
DELETED = "merganser_resolver_events_already_deleted_total"


async def forget(system: System, *options: str, name: str = ANN) -> Ended:
    ended = await command(system.env, "forget", name, "--yes", *options)
    assert ended.status == 0, ended.err
    return ended


async def audited(system: System) -> None:
    await system.cli("audit")


async def texts(database: Database) -> str:
    """Every row of every table, as text."""
    tables = await database.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows: list[Any] = []
    for table in tables:
        cursor = await database.connection.execute(
            sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))
        )
        rows += await cursor.fetchall()
    return "\n".join(text for (text,) in rows)


HELD = {
    "profiles": "profile",
    "anonymousIds": "anonymousId",
    "profileMerges": "merge",
    "profileProperties": "property",
    "propertyStates": "propertyState",
    "propertyRecounts": "propertyRecount",
    "profileDecorations": "decoration",
    "events": "event",
    "eventChanges": None,  # guids of events and profiles, for seconds
    "eventData": None,  # with its event; what names the laptop here is of Bob's
}
"""The kind in an export of each table that may name a person."""


async def naming(database: Database, *names: str | None) -> dict[str, int]:
    """How many rows of each table name the person, but for Bob's events on Ann's laptop."""
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


async def history(system: System) -> None:
    """Ann on two devices, one of which she used before; Bob, who also used her laptop."""
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


async def test_a_forgotten_person_leaves_no_trace_and_does_not_come_back(system: System) -> None:
    resolver, scanner = await asyncio.gather(system.resolver(), system.scanner())
    await history(system)
    profile = await system.database.profile_of(ANN)
    ended = await forget(system)

    kept = await texts(system.database)
    for trace in (ANN, PHONE, LAPTOP, profile, "ann's card"):
        assert trace not in kept
    assert await system.database.column("SELECT type FROM events ORDER BY type") == [
        "pageview",
        "purchase",
    ]
    await audited(system)
    (line,) = [line for line in ended.log if line["event"] == "person forgotten"]
    assert (line["profile"], line["events"], line["anonymous_ids"]) == (profile, 4, 2)
    assert line["by"]
    assert line["timestamp"]
    assert ANN not in ended.err
    assert PHONE not in ended.err

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
    kept = await texts(system.database)
    for trace in (ANN, PHONE, LAPTOP, "new-phone"):
        assert trace not in kept
    await audited(system)
    assert {ANN, PHONE, LAPTOP}.isdisjoint((resolver.log + scanner.log).split('"'))


async def test_another_user_of_the_device_is_kept_without_it(system: System) -> None:
    gateway, resolver = await asyncio.gather(system.ingest(), system.resolver())
    await history(system)
    await forget(system)

    purchase = {"type": "order", "userId": "bob", "anonymousId": LAPTOP, "messageId": "m-1"}
    await gateway.tracked(**purchase)
    await gateway.tracked(**purchase)  # the client tries again
    for call, said in {
        "identify": {"userId": "bob", "anonymousId": LAPTOP, "traits": {"plan": "pro"}},
        "alias": {"userId": "cat", "previousId": LAPTOP, "anonymousId": "cats-own"},
        "page": {"anonymousId": LAPTOP},
    }.items():
        answer = await gateway.post(f"/v1/{call}", json.dumps(said).encode())
        assert answer.status_code == 200, answer.text
    await eventually(lambda: resolver.metric(SUPPRESSED), equals(1))
    await eventually(lambda: resolver.metric(UNLINKED), equals(3))
    await gateway.tracked(**purchase)  # and much later once more
    await eventually(lambda: resolver.metric(REPEATED), equals(2))
    assert await system.database.grouping() == {
        frozenset({"purchase", "pageview", "order", "identify"}),
        frozenset({"alias"}),
    }
    assert LAPTOP not in await texts(system.database)
    await audited(system)
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
    await audited(system)


async def test_who_is_readmitted_begins_anew(system: System) -> None:
    await system.resolver()
    await history(system)
    await forget(system)
    assert (await command(system.env, "readmit", ANN)).status == 0
    assert (await command(system.env, "readmit", ANN)).status == 1
    await system.events.publish_events([event(user=ANN), event(anonymous=PHONE)])
    await eventually(lambda: system.database.count("events"), equals(3))
    await audited(system)


async def test_without_suppression_the_same_ids_begin_anew(system: System) -> None:
    await system.resolver()
    await history(system)
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
    await audited(system)


async def test_without_suppression_what_the_topic_has_of_before_stays_gone(system: System) -> None:
    resolver = await system.resolver()
    await history(system)
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
    await audited(system)


@pytest.mark.parametrize("finisher", ["the scanner", "the same command"])
async def test_what_a_killed_command_left_goes_all_the_same(system: System, finisher: str) -> None:
    await system.resolver()
    await history(system)
    profile = await system.database.profile_of(ANN)
    async with await connect(system.database.url, "test") as connection:
        async with connection.transaction():
            visitors = await steps.suppress_ids(connection, profile, 100)
        while await steps.detach_anonymous_ids(connection, profile, visitors, 100):
            pass
        await audited(system)
        async with connection.transaction():
            await steps.forget_anonymous_ids(connection, profile, visitors, suppressed=True)
        await audited(system)
        while await steps.forget_merges(connection, profile, 100):
            pass
        await steps.forget_profile(connection, profile, suppressed=True)
    assert await system.database.count("events") == 6
    await audited(system)  # what still goes is not a disagreement
    if finisher == "the scanner":
        await system.scanner()
    else:
        assert "4 events" in (await forget(system)).err
    await eventually(lambda: system.database.count("events"), equals(2))
    await audited(system)
    assert (await command(system.env, "forget", ANN, "--yes")).status == 1


async def test_a_batch_in_hand_is_waited_for(system: System) -> None:
    """Its plan was made before: what it writes after the person is gone would have nobody."""
    await system.resolver()
    await history(system)
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
    assert ANN not in await texts(system.database)
    await audited(system)


async def test_a_batch_that_comes_meanwhile_waits_and_is_told(database: Database) -> None:
    """Whether its statements are prepared or not, what they see is of after the wait."""
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
                await steps.suppress_ids(forgetter, profile, 100)
                planning = asyncio.create_task(resolved(planner, EventIds("evt_late", NOON, *late)))
                await eventually(database.lock_waits, equals(1))
            assert await planning == (None,)
        assert await database.column('SELECT "anonymousId" FROM "anonymousIds"') == [PHONE]


async def resolved(connection: AsyncConnection[Any], *events: EventIds) -> tuple[str | None, ...]:
    async with connection.transaction():
        return (await store.resolve(connection, events, 10)).event_profiles


async def test_nobody_is_asked_no_one_is_erased(system: System) -> None:
    await system.resolver()
    await history(system)
    ended = await command(system.env, "forget", ANN)
    assert ended.status == 1
    assert "4 events and 2 anonymousIds" in ended.err
    assert await system.database.count("events") == 6
    assert (await command(system.env, "forget", PHONE, "--yes")).status == 1


async def test_export_is_all_that_is_held(system: System) -> None:
    await system.resolver()
    await history(system)
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
    ended = await command(system.env, "export", ANN)
    assert ended.status == 0, ended.err
    found: dict[str, list[dict[str, Any]]] = {}
    for line in ended.lines:
        found.setdefault(line.pop("kind"), []).append(line)
    assert {kind: len(lines) for kind, lines in found.items()} == {
        kind: count
        for table, count in (await naming(system.database, ANN, profile, PHONE, LAPTOP)).items()
        if (kind := HELD[table])
    }
    assert [one["userId"] for one in found["profile"]] == [ANN]
    assert [one["anonymousId"] for one in found["anonymousId"]] == [LAPTOP, PHONE]
    assert [one["reason"] for one in found["merge"]] == ["claimed"]
    assert [(one["key"], one["value"]) for one in found["property"]] == [("visits", "2")]
    assert sorted(one["type"] for one in found["event"]) == [
        "pageview",
        "pageview",
        "row",
        "sign-in",
        "sign-in",
    ]
    assert {"key": "card", "value": "ann's card"} in [
        pair for one in found["event"] for pair in one["data"]
    ]
    assert "price" not in ended.out
    (line,) = ended.log
    assert (line["event"], line["profile"], line["lines"]) == ("person exported", profile, 13)
    assert ANN not in ended.err
