"""Audits and their results, while other things happen."""

import asyncio

import psycopg
import pytest

from merganser.admin.audit import AuditRunning, read_audits, run_audit
from merganser.identity import audit as identity
from merganser.runtime.settings import Settings
from properties import audit as properties
from tests.support.actions import OPERATOR
from tests.support.database import Database
from tests.support.waiting import equals, eventually


def settings_of(database: Database) -> Settings:
    return Settings.model_validate({"database_url": database.url})


async def run(database: Database, *, with_properties: bool = False) -> int:
    """Run an audit; return the number of disagreements."""
    reports = await run_audit(
        settings_of(database), OPERATOR, lambda _: None, properties=with_properties
    )
    return reports.disagreements


async def states(database: Database) -> list[str]:
    """Return what became of each audit, oldest first."""
    return [
        "running" if audit.is_running else "interrupted" if audit.is_interrupted else "finished"
        for audit in reversed(await read_audits(database.connection, 10))
    ]


async def test_one_audit_runs_at_a_time_and_a_canceled_one_is_interrupted(
    database: Database,
) -> None:
    async with await psycopg.AsyncConnection.connect(database.url) as blocking:
        await blocking.execute("LOCK TABLE events")
        first = asyncio.create_task(run(database))
        await eventually(lambda: states(database), equals(["running"]))
        with pytest.raises(AuditRunning):
            await run(database)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await eventually(lambda: states(database), equals(["interrupted"]))
    assert await run(database) == 0
    assert await states(database) == ["interrupted", "finished"]


async def test_an_audit_that_loses_its_lock_ends(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.url) as blocking:
        await blocking.execute("LOCK TABLE events")
        audit = asyncio.create_task(run(database))
        await eventually(lambda: states(database), equals(["running"]))
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'merganser audit lock%%'"
        )
        with pytest.raises(psycopg.OperationalError):
            await audit
    assert await states(database) == ["interrupted"]


async def test_the_progress_is_stored(database: Database) -> None:
    seen: list[float] = []
    await run_audit(settings_of(database), OPERATOR, seen.append, properties=True)
    assert seen[-1] == 1 or max(seen) <= 1
    (audit,) = await read_audits(database.connection, 1)
    assert (audit.progress, audit.properties, audit.started_by) == (1, True, OPERATOR.name)
    assert audit.counts["events"] == 0


async def test_a_report_is_bounded_and_counts_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "MAX_KEPT", 2)
    monkeypatch.setattr(properties, "MAX_KEPT", 2)
    await database.execute(
        """INSERT INTO profiles (guid, "userId") SELECT 'pro_' || n, 'user ' || n
        FROM generate_series(1, 2) AS n"""
    )
    await database.execute(
        """INSERT INTO events (type, "userId", "profileGuid", "occurredAt")
        SELECT 'view', 'user 1', 'pro_2', now() FROM generate_series(1, 5)"""
    )
    await database.execute(
        """INSERT INTO "profileProperties" ("profileGuid", key, value)
        SELECT 'pro_gone' || n, 'plan', 'free' FROM generate_series(1, 3) AS n"""
    )
    reports = await run_audit(settings_of(database), OPERATOR, lambda _: None, properties=True)
    assert (reports.identity.found, len(reports.identity.disagreements)) == (5, 2)
    assert reports.properties is not None
    assert (reports.properties.found, len(reports.properties.disagreements)) == (3, 2)
    (audit,) = await read_audits(database.connection, 1)
    assert (audit.disagreements, len(audit.findings)) == (8, 4)


async def test_the_table_has_no_ids_of_clients(database: Database) -> None:
    await database.execute("""INSERT INTO profiles (guid) VALUES ('pro_1')""")
    await database.execute(
        """INSERT INTO "anonymousIds" ("anonymousId", "profileGuid")
        VALUES ('secret', 'pro_gone')"""
    )
    reports = await run_audit(settings_of(database), OPERATOR, lambda _: None, properties=False)
    assert "secret" in {found.subject for found in reports.identity.disagreements}
    stored = await database.value("SELECT string_agg(audits::text, '') FROM audits")
    assert "secret" not in stored
    assert "this anonymousId has the wrong profile" in stored
