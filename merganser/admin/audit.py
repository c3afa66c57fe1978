"""Audits: recompute what is stored from the events, and report what differs (`merganser audit`).

One audit runs at a time. It holds an advisory lock in a separate transaction, so that everyone sees
whether it still runs. Its row in `audits` has its progress, then its result.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypedDict

from psycopg import AsyncConnection

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import Transact, open_connection, open_transactions
from merganser.admin.errors import AdminError
from merganser.identity import audit as identity
from merganser.identity.audit import IdentityAuditReport
from merganser.runtime import sql
from merganser.runtime.settings import Settings
from properties import audit as properties_audit
from properties.audit import PropertyAuditReport

_SQL = sql.load(__package__, "audit.sql")

MAX_FINDINGS = 100
"""Disagreements that the table keeps of one audit."""

UPDATE_SECONDS = 2.0
"""Between two updates of the progress. Postgres ends the lock's transaction if it is idle for 15 s,
as it is when this process was suspended: another audit can then start."""


class AuditRunning(AdminError):
    """Another audit has not finished."""

    def __init__(self) -> None:
        super().__init__("an audit is running already: wait until it has finished")


class Finding(TypedDict):
    """A disagreement, as the table keeps it."""

    problem: str
    subject: str | None
    """Guid of an event or a profile; None if the subject is an anonymousId."""
    stored: str | None
    expected: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """A row of `audits`."""

    guid: str
    source: str
    """Where it was started: `cli` or `console`."""
    started_by: str
    properties: bool
    """Whether it compares properties, too."""
    started_at: datetime
    progress: float
    """From 0 to 1."""
    finished_at: datetime | None
    counts: Mapping[str, int]
    disagreements: int | None
    """How many it found; None if it has not finished."""
    findings: list[Finding]
    """The first `MAX_FINDINGS` disagreements."""
    is_running: bool

    @property
    def is_interrupted(self) -> bool:
        """Whether it ended without a result."""
        return self.finished_at is None and not self.is_running


@dataclass(frozen=True, slots=True)
class AuditReports:
    """What an audit found."""

    identity: IdentityAuditReport
    properties: PropertyAuditReport | None
    """None if properties were not compared."""

    @property
    def disagreements(self) -> int:
        """How many there are."""
        return self.identity.found + (self.properties.found if self.properties else 0)


async def run_audit(
    settings: Settings,
    actor: Actor,
    progress: Callable[[float], None],
    *,
    properties: bool,
) -> AuditReports:
    """Compare the profile of each event, and maybe all properties, with what the events say.

    Args:
        settings: the database's URL, and the ids that mean nobody.
        actor: who starts it.
        progress: called with the completed fraction, from 0 to 1.
        properties: whether to compare properties, too.

    Raises:
        AuditRunning: another audit has not finished.
    """
    done = 0.0

    def note(fraction: float) -> None:
        nonlocal done
        done = fraction
        progress(fraction)

    async with (
        open_connection(settings, "audit lock") as lock,
        lock.transaction(),
        open_transactions(settings, "audit row") as transact,
    ):
        if await (await lock.execute(_SQL["try_lock"])).fetchone() != (True,):
            raise AuditRunning
        guid = await transact(partial(_start, actor=actor, properties=properties))
        comparing = asyncio.ensure_future(_compare(settings, note, properties=properties))
        keeping = asyncio.ensure_future(_keep_lock(lock, transact, guid, lambda: done))
        try:
            await asyncio.wait({comparing, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not comparing.done():
                await keeping  # raises why the lock is lost
            reports = await comparing
        finally:
            comparing.cancel()
            keeping.cancel()
            await asyncio.gather(comparing, keeping, return_exceptions=True)
        await transact(partial(_finish, guid=guid, reports=reports))
    return reports


async def read_audits(connection: AsyncConnection[Any], at_most: int) -> list[Audit]:
    """Return the newest audits, the newest first."""
    cursor = await connection.execute(_SQL["read_newest"], {"at_most": at_most})
    return [Audit(*row) for row in await cursor.fetchall()]


async def _keep_lock(
    lock: AsyncConnection[Any], transact: Transact, guid: str, read_progress: Callable[[], float]
) -> None:
    """Keep the lock's transaction alive and store the progress; never returns.

    Raises:
        psycopg.Error: the lock is lost.
    """
    while True:
        await asyncio.sleep(UPDATE_SECONDS)
        await lock.execute(_SQL["keep_lock"])
        await transact(partial(_set_progress, guid=guid, progress=read_progress()))


async def _compare(
    settings: Settings, progress: Callable[[float], None], *, properties: bool
) -> AuditReports:
    share = 0.5 if properties else 1.0
    async with open_connection(settings, "audit") as connection:
        found = await identity.audit(
            connection, settings.nobody_ids, lambda done: progress(share * done)
        )
        if not properties:
            return AuditReports(found, None)
        return AuditReports(
            found,
            await properties_audit.audit(
                connection, datetime.now(UTC), lambda done: progress(share + share * done)
            ),
        )


async def _start(connection: AsyncConnection[Any], *, actor: Actor, properties: bool) -> str:
    values = {"source": actor.source, "started_by": actor.name, "properties": properties}
    (guid,) = await (await connection.execute(_SQL["start"], values)).fetchone() or ("",)
    await record_action(connection, actor, "audit started", subject=guid)
    return str(guid)


async def _set_progress(connection: AsyncConnection[Any], *, guid: str, progress: float) -> None:
    await connection.execute(_SQL["set_progress"], {"guid": guid, "progress": progress})


async def _finish(connection: AsyncConnection[Any], *, guid: str, reports: AuditReports) -> None:
    values = {
        "guid": guid,
        "counts": json.dumps(_counts(reports)),
        "disagreements": reports.disagreements,
        "findings": json.dumps(_findings(reports)),
    }
    await connection.execute(_SQL["finish"], values)


def _counts(reports: AuditReports) -> dict[str, int]:
    counts = {
        "events": reports.identity.events,
        "unresolved": reports.identity.unresolved,
        "moves": reports.identity.moves_in_progress,
        "erasures": reports.identity.erasures_in_progress,
    }
    if found := reports.properties:
        counts |= {
            "profiles": found.profiles,
            "pending": found.pending,
            "setAside": found.set_aside,
            "backfilling": found.backfilling,
            "broken": found.broken,
        }
    return counts


def _findings(reports: AuditReports) -> list[Finding]:
    """Return what the table keeps: neither ids of clients nor values: `forget` keeps the table."""
    found = [
        Finding(
            problem=problem.problem,
            subject=problem.guid,
            stored=problem.stored,
            expected=problem.expected,
        )
        for problem in reports.identity.disagreements
    ]
    if reports.properties:
        found += [
            Finding(
                problem=f"the property {problem.key} is wrong",
                subject=problem.profile,
                stored=None,
                expected=None,
            )
            for problem in reports.properties.disagreements
        ]
    return found[:MAX_FINDINGS]
