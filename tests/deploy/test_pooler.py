"""All processes and commands work through PgBouncer in transaction mode."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg import AsyncConnection

from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database
from tests.support import pooler
from tests.support.command import command
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]

RULES = """
sources:
  crm: {url: CRM_URL}
rules:
  - {key: userId, type: string, unique: true, identifying: true}
  - {key: visits, type: integer, events: {type: pageview, aggregation: count}}
  - key: plan
    type: string
    query: {source: crm, sql: "SELECT id, plan FROM users WHERE id IN (:userIds)", column: plan}
"""
USERS = 30


@pytest.fixture
async def pooled(system: System, tmp_path: Path) -> AsyncIterator[System]:
    """A system whose processes and commands connect to Postgres through the pooler."""
    async with pooler.run(system.database.url, tmp_path) as url:
        system.env["MERGANSER_DATABASE_URL"] = url
        yield system


async def test_every_process_works_through_the_pooler(pooled: System, tmp_path: Path) -> None:
    crm = tmp_path / "crm.db"
    with sqlite3.connect(crm) as company:
        company.execute("CREATE TABLE users (id TEXT PRIMARY KEY, plan TEXT)")
        company.executemany("INSERT INTO users VALUES (?, 'free')", [(f"u{n}",) for n in range(99)])
    company.close()
    pooled.env["CRM_URL"] = f"sqlite:///{crm}"
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    key = await pooled.key("all", "events:write", "profiles:read", "events:read", "events:delete")
    decoration = pooled.new("decoration", decoration_interval=0.1)
    decoration.start()
    gateway, _, _, _, (_, api) = await asyncio.gather(
        pooled.ingest(), pooled.resolver(), pooled.scanner(), pooled.properties(), pooled.api()
    )
    await decoration.ready()
    await pooled.cli("rules", "apply", "--yes", str(rules))
    # More often than the number of executions after which psycopg prepares a statement.
    for _ in range(12):
        for n in range(USERS):
            await gateway.tracked(type="pageview", anonymousId=f"a{n}", userId=f"u{n}")
        await pooled.database.execute(
            """INSERT INTO events (type, "userId") SELECT 'refund', 'u' || n
            FROM generate_series(0, 29) AS n"""
        )
    resolved = 'SELECT count(*) FROM events WHERE "profileGuid" IS NOT NULL'
    await eventually(lambda: pooled.database.value(resolved), equals(24 * USERS))
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http:

        async def properties() -> object:
            responses = await asyncio.gather(
                *(http.get(f"{api}/profiles", params={"userId": f"u{n}"}) for n in range(USERS))
            )
            return [response.json()["profiles"][0]["properties"] for response in responses]

        expected = [{"userId": f"u{n}", "visits": 12, "plan": "free"} for n in range(USERS)]
        await eventually(properties, equals(expected))
        events = (await http.get(f"{api}/events", params={"limit": 1})).json()["events"]
        deleted = await http.delete(f"{api}/event/{events[0]['guid']}")
        assert deleted.status_code == 200
    for service in pooled.services:
        assert service.defects == []


async def test_every_command_works_through_the_pooler(pooled: System) -> None:
    await pooled.resolver()
    await pooled.events.publish_events([event(user="ann", anonymous="phone"), event(user="bob")])
    await eventually(lambda: pooled.database.count("events"), equals(2))
    for arguments in (
        ("migrate",),
        ("keys", "create", "one"),
        ("keys", "list"),
        ("keys", "revoke", "one"),
        ("audit", "--properties"),
        ("explain", "ann"),
        ("rules", "list"),
        ("export", "ann"),
        ("forget", "ann", "--reason", "a request", "--yes"),
        ("erasures", "list"),
        ("erasures", "export"),
        ("readmit", "ann"),
        ("prune", "--older-than", "9d"),
        ("replay", "--from", "start", "--yes"),
        ("dead", "list"),
    ):
        result = await command(pooled.env, *arguments)
        assert result.status == 0, (arguments, result.err)


async def test_concurrent_migrations_work_through_the_pooler(
    empty_database_url: str, tmp_path: Path
) -> None:
    """A session of the pooler must not keep their lock."""
    async with pooler.run(empty_database_url, tmp_path) as url:
        env = {"MERGANSER_DATABASE_URL": url}
        for _ in range(2):
            results = await asyncio.gather(*(command(env, "migrate") for _ in range(3)))
            assert [result.status for result in results] == [0, 0, 0], results
        listed = await command(env, "keys", "list")
        assert listed.status == 0


async def test_the_settings_of_a_transaction_do_not_affect_other_clients(
    system: System, tmp_path: Path
) -> None:
    async with pooler.run(system.database.url, tmp_path) as url:
        ours = Database(url, "test")
        assert await ours.transact(read_settings, Stop()) == {
            "TimeZone": "UTC",
            "enable_seqscan": "off",
            "idle_in_transaction_session_timeout": "15000",
        }
        # The pooler reuses the session that it used last.
        async with await AsyncConnection.connect(url, autocommit=True) as other:
            found = await read_settings(other)
        assert found["enable_seqscan"] == "on"
        assert found["idle_in_transaction_session_timeout"] == "0"
        await ours.close()


async def read_settings(connection: AsyncConnection[Any]) -> dict[str, str]:
    """Return the settings of a session."""
    cursor = await connection.execute(
        "SELECT name, setting FROM pg_settings WHERE name IN "
        "('TimeZone', 'enable_seqscan', 'idle_in_transaction_session_timeout')"
    )
    return dict(await cursor.fetchall())
