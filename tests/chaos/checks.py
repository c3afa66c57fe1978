"""All that is checked at the end of a run."""

from typing import Any

import psycopg

from tests.chaos import comparison
from tests.chaos.comparison import HOSTILE_GUID
from tests.chaos.deployment import Deployment
from tests.chaos.injector import Injector
from tests.chaos.ledger import Ledger
from tests.chaos.monitor import Monitor
from tests.chaos.verdict import Verdict

_HOSTILE_LINES = (
    '"event": "values set aside"',
    '"event": "profiles set aside"',
    '{"rule": "bait", ',
)
"""Errors in logs that hostile items cause; `_check_set_aside` checks that only they do."""


async def check(
    verdict: Verdict, deployment: Deployment, ledger: Ledger, monitor: Monitor, injector: Injector
) -> None:
    """Check tables, dead letters, logs and processes when no work is left, and fill the verdict."""
    kinds = comparison.kinds_of(deployment.system)
    async with await deployment.connect() as connection:
        erased = await comparison.compare(verdict, connection, ledger)
        await comparison.audit(verdict, connection, kinds)
        if "decoration" in kinds:
            await _check_decoration(verdict, connection)
        await _check_set_aside(verdict, connection)
    await _check_dead_letters(verdict, deployment)
    _check_logs(verdict, deployment)
    verdict.report("a death", monitor.deaths)
    verdict.failures += injector.failures
    verdict.measured = deployment.measured
    verdict.delayed = verdict.report(
        "delayed by hostile events", (guid for guid in deployment.delayed if guid not in erased)
    )
    verdict.kills, verdict.faults = deployment.kills, dict(injector.survived)
    verdict.slowest_recovery = max(injector.slowest_recovery, verdict.slowest_recovery)
    verdict.peak_mib = {kind: peak >> 20 for kind, peak in monitor.peaks.items()}
    verdict.sent_again, verdict.refused, verdict.rows = (
        ledger.sent_again,
        ledger.refused,
        ledger.rows,
    )


_UNDECORATED = """
SELECT guid FROM profiles
WHERE "userId" IS NOT NULL AND NOT starts_with("userId", 'hostile ')
    AND NOT EXISTS (
        SELECT FROM "profileProperties"
        WHERE "profileGuid" = profiles.guid AND key = 'plan' AND value = 'free'
    )
"""


async def _check_decoration(verdict: Verdict, connection: psycopg.AsyncConnection[Any]) -> None:
    """Each known user has the value of the company's database, except hostile users."""
    cursor = await connection.execute(_UNDECORATED)
    verdict.report("without its value of the source", [guid for (guid,) in await cursor.fetchall()])


_SET_ASIDE = """
SELECT kind || ' ' || subject || ': ' || reason, CASE kind
    WHEN 'record' THEN true
    WHEN 'row' THEN starts_with(subject, %s)
    ELSE NOT EXISTS (
        SELECT FROM profiles WHERE guid = subject AND "userId" NOT LIKE 'hostile %%'
    )
END
FROM "setAside"
"""


async def _check_set_aside(verdict: Verdict, connection: psycopg.AsyncConnection[Any]) -> None:
    """Only hostile items are set aside. `_check_dead_letters` compares the records."""
    cursor = await connection.execute(_SET_ASIDE, (HOSTILE_GUID,))
    rows = await cursor.fetchall()
    verdict.set_aside = len(rows)
    verdict.report("set aside", (description for description, hostile in rows if not hostile))


async def _check_dead_letters(verdict: Verdict, deployment: Deployment) -> None:
    """Each invalid record is a dead letter, once or more, and no other record is."""
    letters = {
        record.key or b"": record.value
        for record in await deployment.topics.dead.records()
        if record.key not in deployment.hostile_keys
    }
    verdict.dead_letters = len(letters)
    invalid = deployment.invalid_records
    verdict.report("no dead letter", (str(key) for key in invalid if key not in letters))
    verdict.report("a dead letter of a valid record", (str(k) for k in letters if k not in invalid))
    verdict.report(
        "an altered dead letter",
        (str(key) for key in letters if key in invalid and letters[key] != invalid[key]),
    )


def _check_logs(verdict: Verdict, deployment: Deployment) -> None:
    """No process logs an error, except for hostile items."""
    verdict.report(
        "a log",
        [
            line
            for service in deployment.services
            if service.running or service.exit_code is not None
            for line in service.defects
            if not any(text in line for text in _HOSTILE_LINES)
        ],
    )
