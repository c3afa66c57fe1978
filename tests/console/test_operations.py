"""The pages of operations, on the real Kafka and Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

import httpx
import psycopg
import pytest

from schemas import migrations
from tests.console.test_overview import monitoring
from tests.console.test_profiles import SIGN_IN, store_story
from tests.console.viewer import FROM_PAGE, Viewer, text_of
from tests.support.actions import read_actions
from tests.support.database import Database
from tests.support.events import event
from tests.support.system import System
from tests.support.waiting import equals, eventually

REPEATED = "merganser_resolver_events_repeated_total"


@asynccontextmanager
async def locked(url: str, statement: str) -> AsyncIterator[None]:
    """Hold what a statement locks for the length of a block."""
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
        connection.transaction(),
    ):
        await connection.execute(statement.encode())
        yield


def audit_running(database: Database) -> AbstractAsyncContextManager[None]:
    """Hold the lock of an audit."""
    return locked(
        database.url, "SELECT pg_advisory_xact_lock(hashtextextended('merganser audit', 0))"
    )


async def positions(viewer: Viewer) -> dict[int, int]:
    rows = 'SELECT partition, "nextOffset" FROM "consumerOffsets"'
    return dict(await viewer.database.rows(rows))


async def test_the_page_says_who_reads_which_partition(
    system: System, system_viewer: Viewer
) -> None:
    async def text() -> str:
        return await system_viewer.text("/operations")

    # A new cluster creates the topic of its groups at the first question.
    await eventually(text, lambda found: "No resolver is in the group" in found)
    await system.resolver()
    await system.events.publish_events([event(user=f"user-{n}") for n in range(7)])
    async with monitoring(system_viewer):
        found = await eventually(
            text, lambda found: "merganser-resolver 127.0.0.1 0, 1, 2, 3 0 merganser" in found
        )
        ends = await system.events.ends()
        for number, end in ends.items():
            assert f"{number} {end} {end} 0 member 1, 127.0.0.1" in found
    assert f"resolver {version('merganser')}" in found
    assert "Processes of several versions" not in found


async def test_without_kafka_the_page_shows_what_postgres_knows(viewer: Viewer) -> None:
    text = await viewer.text("/operations")
    assert "Kafka does not say who is in the group merganser-resolver" in text
    assert f"All {len(migrations.available())} migrations of this version are applied." in text
    assert "There was no audit yet." in text
    assert "console" in text


async def test_versions_that_differ_are_pointed_out(viewer: Viewer) -> None:
    async with await psycopg.AsyncConnection.connect(
        viewer.database.url, application_name="merganser scanner moves 0.0.1"
    ):
        text = await viewer.text("/operations")
    assert "scanner 0.0.1" in text
    assert "Processes of several versions are running" in text


async def test_a_migration_that_is_missing_is_named(viewer: Viewer) -> None:
    await viewer.database.execute("""DELETE FROM "schemaMigrations" WHERE version = 17""")
    text = await viewer.text("/operations")
    assert f"1 of {len(migrations.available())} are missing: run merganser migrate" in text
    assert "0017_console missing" in text


async def test_a_replay_is_shown_before_it_is_done(system: System, system_viewer: Viewer) -> None:
    resolver = await system.resolver()
    await system.events.publish_events([event(user=f"user-{n}") for n in range(5)])
    await system.consumed()
    before = await positions(system_viewer)

    page = await system_viewer.page("/operations/replay", **{"from": "start"})
    assert "5 records would be read again" in text_of(page)
    assert "Read 5 records again" in page
    assert await positions(system_viewer) == before
    assert await read_actions(system.database) == []

    response = await system_viewer.post("/operations/replay", {"from": "start", "partition": ""})
    assert (response.status_code, response.headers["location"]) == (303, "/operations?replayed=5")
    await eventually(lambda: resolver.metric(REPEATED), equals(5))
    ((source, _, action, subject, _, counts),) = await read_actions(system.database)
    assert (source, action, subject) == ("console", "topic replayed", system.events.name)
    assert counts["records"] == 5
    text = await system_viewer.text("/operations", replayed="5")
    assert "Resolvers read 5 records again." in text


async def test_an_age_becomes_a_time_that_stays(system_viewer: Viewer) -> None:
    page = await system_viewer.page("/operations/replay", **{"from": "2h", "partition": "1"})
    assert "0 records would be read again" in text_of(page)
    assert 'value="2h"' not in page
    assert "There is nothing to do" in page


@pytest.mark.parametrize(
    ("start", "partition", "message"),
    [
        ("yesterday", "", "'yesterday' is neither a time"),
        ("<b>", "", "'<b>' is neither a time"),
        ("start", "77", "has no partition 77: its partitions are 0 to 3"),
        ("start", "x", "'x' is not the number of a partition"),
        ("999", "", "not 999"),
    ],
)
async def test_a_replay_that_is_not_possible(
    system: System, system_viewer: Viewer, start: str, partition: str, message: str
) -> None:
    parameters = {"from": start, "partition": partition}
    response = await system_viewer.get("/operations/replay", **parameters)
    assert response.status_code == 422
    assert message in text_of(response.text)
    assert f'name="partition" value="{partition}"' in response.text
    refused = await system_viewer.post("/operations/replay", parameters)
    assert refused.headers["location"].startswith("/operations/replay?from=")
    assert await read_actions(system.database) == []


async def test_readers_cannot_act(system: System, system_viewer: Viewer) -> None:
    await system.resolver()
    await system.events.publish_events([event(user="ann")])
    await system.consumed()
    before = await positions(system_viewer)
    await system_viewer.log_in("console:read")
    page = await system_viewer.page("/operations/replay", **{"from": "start"})
    assert "A replay needs a key with the permission console:write" in text_of(page)
    for path in ("/operations", "/operations/audits"):
        assert "Audit now" not in await system_viewer.page(path)
    replay = {"from": "start", "partition": ""}
    assert (await system_viewer.post("/operations/replay", replay)).status_code == 403
    assert (await system_viewer.post("/operations/audits", {})).status_code == 403
    assert await positions(system_viewer) == before
    assert await system.database.count("audits") == 0


async def test_an_audit_shows_an_error(viewer: Viewer) -> None:
    profile, _ = await store_story(viewer)
    response = await viewer.post("/operations/audits", {})
    assert response.headers["location"] == "/operations/audits"
    assert "all agree" in await viewer.text("/operations/audits")
    await viewer.database.execute("INSERT INTO profiles (guid, \"userId\") VALUES ('pro_x', 'x')")
    await viewer.database.execute(
        """UPDATE events SET "profileGuid" = 'pro_x' WHERE guid = %s""", SIGN_IN["guid"]
    )
    await viewer.post("/operations/audits", {})

    page = await viewer.page("/operations/audits")
    text = text_of(page)
    assert "1 disagreement 4 events" in text
    assert "What the last audit found" in text
    assert "this event is on the wrong profile" in text
    for path in (f"/events/{SIGN_IN['guid']}", "/profiles/pro_x", f"/profiles/{profile}"):
        assert f'href="{path}"' in page
    assert "1 disagreement The last audit, of 4 events, finished 0 s ago" in await viewer.text(
        "/operations"
    )
    text = await viewer.text("/")
    assert "The last audit found 1 disagreement." in text
    assert "Last audit 0 s ago : 1 disagreement" in text
    actions = await read_actions(viewer.database)
    assert [action for _, _, action, *_ in actions] == ["audit started"] * 2


async def test_an_audit_compares_properties_if_asked(viewer: Viewer) -> None:
    await store_story(viewer)
    await viewer.database.execute(
        """INSERT INTO "profileProperties" ("profileGuid", key, value)
        VALUES ('pro_gone', 'email', 'ann@example.test')"""
    )
    await viewer.post("/operations/audits", {"properties": "on"})
    page = await viewer.page("/operations/audits")
    assert "1 disagreement 4 events, properties of 1 profiles" in text_of(page)
    assert "the property email is wrong" in page
    assert "ann@example.test" not in page
    (findings,) = await viewer.database.column("SELECT findings::text FROM audits")
    assert "ann@example.test" not in findings


async def test_the_page_has_audits_of_the_command(system: System, system_viewer: Viewer) -> None:
    await store_story(system_viewer)
    await system.cli("audit")
    text = await system_viewer.text("/operations/audits")
    assert "all agree 4 events" in text
    assert text.endswith(" cli")


async def test_an_audit_that_runs_and_one_that_died(viewer: Viewer) -> None:
    await viewer.database.execute(
        """INSERT INTO audits (source, "startedBy", properties, progress, "startedAt") VALUES
        ('cli', 'me', false, 0.25, now() - interval '1 hour'), ('cli', 'me', true, 0.4, now())"""
    )
    async with audit_running(viewer.database):
        text = await viewer.text("/operations/audits")
        assert "An audit is running 40 %" in text
        assert "interrupted events, 25 % done" in text
        assert "Audit now" not in text
        response = await viewer.post("/operations/audits", {})
        assert response.headers["location"] == "/operations/audits"
        assert await viewer.database.count("audits") == 2
    text = await viewer.text("/operations/audits")
    assert "interrupted events and properties, 40 % done" in text
    assert "An audit is running" not in text


async def test_an_audit_stops_with_the_process(system: System) -> None:
    service, url = await system.console()
    key = await system.key("writer", "console:write")
    headers = {**FROM_PAGE, "origin": url}
    async with (
        locked(system.database.url, "LOCK TABLE events"),
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):
        await client.post("/login", data={"key": key})
        response = await client.post("/operations/audits", data={}, timeout=30)
        assert response.status_code == 303
        page = text_of((await client.get("/operations/audits")).text)
        assert "An audit is running" in page
        assert await asyncio.wait_for(service.stop(within=10), 20) == 0
        finished = await system.database.column('SELECT "finishedAt" FROM audits')
    assert finished == [None]
    assert service.defects == []
