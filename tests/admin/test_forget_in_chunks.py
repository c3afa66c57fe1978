"""`merganser forget` uses short transactions, however many events and ids a person has."""

from itertools import pairwise
from typing import Any

import pytest
from psycopg import AsyncConnection
from pydantic import SecretStr

from merganser.admin import forget as admin
from merganser.identity import forget
from merganser.identity.forget import Request
from merganser.identity.plan import EventIds
from merganser.runtime.postgres import connect
from merganser.runtime.settings import Settings
from tests.cli.test_forget import (
    ANN,
    PHONE,
    SUPPRESSED,
    assert_audit_agrees,
    read_all_rows,
    resolve_profiles,
)
from tests.support.actions import OPERATOR
from tests.support.chunks import erase_some
from tests.support.database import Database
from tests.support.events import NOON, event
from tests.support.system import System
from tests.support.waiting import eventually

REQUEST = Request("kiosk", "me", "a request", "all")


async def test_each_step_changes_at_most_the_allowed_number_of_events(database: Database) -> None:
    """Ten events that moves bring to Ann, five of Bob's from her phone, then all of Ann's."""
    async with await connect(database.url, "test") as connection:
        for number, ids in enumerate([(ANN, PHONE), ("bob", PHONE), (ANN, None)]):
            await resolve_profiles(connection, EventIds(f"evt_{number}", NOON, *ids))
        ann, bob = await database.profile_of(ANN), await database.profile_of("bob")
        for profile, user in [("pro_former", None), ("pro_former", None), (bob, "bob"), (ann, ANN)]:
            await database.execute(
                'INSERT INTO events (type, "profileGuid", "userId", "anonymousId", "occurredAt") '
                "SELECT 'x', %s, %s, %s, now() FROM generate_series(1, 5)",
                *(profile, user, PHONE),
            )
        await database.execute('INSERT INTO "eventMoves" VALUES (%s, %s)', PHONE, "pro_former")
        async with connection.transaction():
            assert await forget.suppress_ids(connection, ann, REQUEST, 2) == [PHONE]
        touched, more = [], True
        while more:
            async with connection.transaction():
                more = await forget.detach_anonymous_ids(connection, ann, [PHONE], 2)
                cursor = await connection.execute(
                    "SELECT count(*) FROM events WHERE xmin = pg_current_xact_id()::xid"
                )
                touched += [count for (count,) in await cursor.fetchall()]
        assert touched == [2, 2, 2, 2, 2, 0, 2, 2, 1]
        await forget.forget_profile(connection, ann)
        left, steps = [await database.count("events")], []
        while (erased := await erase_some(connection, 2)) is not None:
            left.append(await database.count("events"))
            steps.append(erased)
    assert steps == [2, 2, 2, 2, 2, 2, 2, 1]
    assert [before - after for before, after in pairwise(left)] == steps
    assert await database.column('SELECT DISTINCT "profileGuid" FROM events') == [bob]


@pytest.mark.faults
async def test_50000_anonymous_ids_are_forgotten_while_a_resolver_runs(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A userId that all devices send. Some of its devices are in use, or come to Bob meanwhile."""
    resolver = await system.resolver()
    database, devices = system.database, 50_000
    await database.execute("INSERT INTO profiles (guid, \"userId\") VALUES ('pro_g', 'kiosk')")
    await database.execute(
        """WITH device AS (
            INSERT INTO "anonymousIds"
            SELECT 'd' || n, 'pro_g', 'kiosk', %s, 'evt_' || n FROM generate_series(1, %s) AS n
            RETURNING *
        ), event AS (
            INSERT INTO events (guid, type, "userId", "anonymousId", "profileGuid", "occurredAt")
            SELECT "linkEventGuid", 't', "userId", "anonymousId", "profileGuid", "linkedAt"
            FROM device
        )
        INSERT INTO "profileMerges"
        SELECT "anonymousId", "linkEventGuid", "userId", 'merged', 'pro_' || "anonymousId", 'pro_g'
        FROM device""",
        *(NOON, devices),
    )
    suppressed, forgotten = [], []
    suppress, forget_visitors = forget.suppress_ids, forget.forget_anonymous_ids

    async def suppressing(connection: AsyncConnection[Any], *scope: Any) -> list[str]:
        suppressed.append(await suppress(connection, *scope))
        return suppressed[-1]

    async def forgetting(connection: AsyncConnection[Any], *scope: Any) -> None:
        before = await database.count("anonymousIds")
        await forget_visitors(connection, *scope)
        cursor = await connection.execute('SELECT count(*) FROM "anonymousIds"')
        forgotten.extend([before - count for (count,) in await cursor.fetchall()])
        number = len(forgotten)
        await system.events.publish_events(
            [
                event(anonymous=f"d{devices - number}", at=number),
                event(user="bob", anonymous=f"d{number}", at=number),
                event(user="bob", anonymous=f"d{devices - 50 - number}", at=-number),
                event(user="kiosk", at=number),
            ]
        )

    monkeypatch.setattr(forget, "suppress_ids", suppressing)
    monkeypatch.setattr(forget, "forget_anonymous_ids", forgetting)
    person = await forget.find_person(database.connection, "kiosk")
    assert person is not None
    settings = Settings(database_url=SecretStr(database.url), _env_file=None)
    await admin.forget_person(settings, OPERATOR, person, REQUEST, lambda _: None)
    ids = [anonymous_id for chunk in suppressed for anonymous_id in chunk]
    assert len(ids) == len(set(ids)) > devices - 30
    assert len(forgotten) >= 25
    assert max(map(len, suppressed)) == admin.CHUNK >= max(forgotten)
    await eventually(lambda: resolver.metric(SUPPRESSED), lambda count: count >= len(forgotten))
    assert "kiosk" not in await read_all_rows(database)
    kept = await database.column(
        'SELECT "anonymousId" FROM events UNION SELECT "anonymousId" FROM "anonymousIds"'
    )
    assert set(ids).isdisjoint(kept)
    await assert_audit_agrees(system)
