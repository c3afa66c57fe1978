"""What docs/managed-services.md says of Postgres holds: grants, connections, failover."""

import asyncio
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from psycopg import AsyncConnection, errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.console.viewer import FROM_PAGE
from tests.support import ROOT, proxy
from tests.support.command import command
from tests.support.database import Database
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

PAGE = (ROOT / "docs/managed-services.md").read_text()
ROLES = ("merganser_owner", "merganser_app", "merganser_analyst")
RULES = """
rules:
  - {key: userId, type: string, unique: true, identifying: true}
  - {key: visits, type: integer, events: {type: pageview, aggregation: count}}
"""


@dataclass(frozen=True)
class Granted:
    """A database with the roles of the page, under names that are unique to the test."""

    urls: Mapping[str, str]
    names: Mapping[str, str]

    def statements(self, number: int) -> str:
        """Return a block of SQL of the page, with the names of these roles."""
        text = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)[number]
        for role, name in self.names.items():
            text = text.replace(role, name)
        return str(text).replace("'...'", "'secret'")

    async def run(self, role: str, number: int) -> None:
        """Run a block of SQL of the page as a role."""
        async with await AsyncConnection.connect(self.urls[role], autocommit=True) as connection:
            await connection.execute(self.statements(number).encode())


@pytest.fixture
async def granted(empty_database_url: str) -> AsyncIterator[Granted]:
    suffix = uuid.uuid4().hex
    names = {role: f"{role}_{suffix}" for role in ROLES}
    urls = {
        role: make_conninfo(empty_database_url, user=name, password="secret")
        for role, name in names.items()
    }
    granted = Granted(urls, names)
    database = str(conninfo_to_dict(empty_database_url)["dbname"])
    async with await AsyncConnection.connect(empty_database_url, autocommit=True) as admin:
        *roles, create = [text for text in granted.statements(0).split(";") if text.strip()]
        for statement in roles:
            await admin.execute(statement.encode())
        assert create.split() == f"CREATE DATABASE merganser OWNER {names[ROLES[0]]}".split()
        owner = sql.SQL("ALTER DATABASE {} OWNER TO {}")
        await admin.execute(owner.format(sql.Identifier(database), sql.Identifier(names[ROLES[0]])))
        try:
            yield granted
        finally:
            for name in names.values():
                await admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                # The role still owns the database itself.
                mine = sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER")
                await admin.execute(mine.format(sql.Identifier(database)))
                await admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


async def test_the_processes_need_exactly_these_grants(
    granted: Granted, system: System, tmp_path: Path
) -> None:
    owner, app, analyst = (granted.urls[role] for role in ROLES)
    await granted.run("merganser_owner", 1)
    as_owner = {**system.env, "MERGANSER_DATABASE_URL": owner}
    assert (await command(as_owner, "migrate")).status == 0
    await granted.run("merganser_owner", 2)

    system.env["MERGANSER_DATABASE_URL"] = app
    decoration = system.new("decoration", decoration_interval=0.1)
    decoration.start()
    gateway, _, _, _, (_, api) = await asyncio.gather(
        system.ingest(), system.resolver(), system.scanner(), system.properties(), system.api()
    )
    await decoration.ready()
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    refused = await command(system.env, "rules", "apply", "--yes", str(rules))
    assert refused.status == 1
    applied = await command(as_owner, "rules", "apply", "--yes", str(rules))
    assert applied.status == 0, applied.err
    key = await system.key("reader", "profiles:read")
    await gateway.tracked(type="pageview", anonymousId="phone", userId="ann")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http:

        async def properties() -> object:
            answer = await http.get(f"{api}/profiles", params={"userId": "ann"})
            found = answer.json()["profiles"]
            return found[0]["properties"] if found else None

        await eventually(properties, equals({"userId": "ann", "visits": 1}))
    for arguments in (
        ("audit", "--properties"),
        ("explain", "ann"),
        ("export", "ann"),
        ("forget", "ann", "--reason", "a request", "--yes"),
        ("erasures", "list"),
        ("erasures", "export"),
        ("readmit", "ann"),
        ("prune", "--older-than", "9d"),
        ("dead", "list"),
        ("keys", "list"),
        ("replay", "--from", "start", "--dry-run"),
    ):
        ended = await command(system.env, *arguments)
        assert ended.status == 0, (arguments, ended.err)
    for service in system.services:
        assert service.defects == []

    async with await AsyncConnection.connect(analyst, autocommit=True) as reader:
        await reader.execute("SELECT * FROM events JOIN profiles ON true")
        for statement in (
            b'SELECT * FROM "apiKeys"',
            b'SELECT * FROM "suppressedIds"',
            b"DELETE FROM events",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                await reader.execute(statement)


def connections() -> dict[str, list[str]]:
    """The rows of the table."""
    rows = re.findall(r"^\| (\w+) \| ?(\d*) \| ?(\d*) \| (\d+) \|$", PAGE, re.MULTILINE)
    return {name: list(numbers) for name, *numbers in rows}


def test_the_connections_add_up_with_the_chart_s_defaults() -> None:
    chart = yaml.safe_load((ROOT / "deploy/helm/merganser/values.yaml").read_text())
    *rows, (last, everything) = connections().items()
    assert last == "all"
    total = 0
    for name, (each, instances, together) in rows:
        enabled = chart[name].get("enabled", True)
        assert int(instances) == (chart[name]["replicas"] if enabled else 0)
        assert int(together) == int(each) * int(instances)
        total += int(together)
    assert int(everything[-1]) == total
    most = chart["ingest"]["autoscaling"]["max"]
    more = int(connections()["ingest"][0]) * (most - chart["ingest"]["replicas"])
    assert f"{most} by default: {total + more} connections" in " ".join(PAGE.split())


async def test_each_process_opens_this_number_of_connections(
    system: System, tmp_path: Path
) -> None:
    file = tmp_path / "empty.db"
    sqlite3.connect(file).close()
    decoration = system.new("decoration")
    decoration.start()
    _, _, _, _, (_, api), (_, console) = await asyncio.gather(
        system.ingest(),
        system.resolver(),
        system.scanner(),
        system.properties(),
        system.api(),
        system.console(),
    )
    await decoration.ready()
    key = await system.key("reader", "events:read", "console:read")
    opened = """SELECT split_part(application_name, ' ', 2), count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'merganser %%' GROUP BY 1"""

    async def found() -> dict[str, int]:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http:
            headers = {**FROM_PAGE, "origin": console}
            await http.post(f"{console}/login", data={"key": key}, headers=headers)
            urls = (f"{api}/events", f"{console}/profiles")
            await asyncio.gather(*(http.get(url) for url in urls for _ in range(60)))
        return dict(await system.database.rows(opened))

    wanted = {name: int(each) for name, (each, *_) in connections().items() if name != "all"}
    await eventually(found, equals(wanted))


async def test_a_process_uses_the_second_host_if_the_first_fails(
    system: System, database: Database
) -> None:
    async with proxy.run(database.url) as (first, _), proxy.run(database.url) as (second, _):
        url = make_conninfo(
            database.url,
            host="127.0.0.1,127.0.0.1",
            port=f"{first.port},{second.port}",
            target_session_attrs="read-write",
        )
        resolver = await system.resolver(database_url=url)
        await system.events.publish_events([event(user="1")])
        await eventually(lambda: database.count("events"), equals(1))
        await first.stop()
        await system.events.publish_events([event(user="2")])
        await eventually(lambda: database.count("events"), equals(2))
        await eventually(resolver.why_not_ready, equals({}))
        # None is there at the start: the second is tried.
        scanner = system.new("scanner", database_url=url)
        scanner.start()
        await scanner.ready()
