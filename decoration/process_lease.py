"""Process one lease: query the source, then write the answers or return the profiles.

A failure affects as little as possible: a value that cannot be read (values.py) or written, a rule
whose query fails (query.py), or a source, which then counts as failing. Other sources are not
affected.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import structlog
from psycopg import AsyncConnection

from decoration import query, schedule, source_status, store
from decoration.breaker import Breaker
from decoration.query import SourceAnswers, SourceQuery
from decoration.schedule import Lease
from decoration.source_client import SourceClient
from decoration.store import WriteResult
from merganser.runtime import isolation, metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


class SharedDatabase:
    """One connection to Merganser's Postgres for many tasks, with one transaction at a time."""

    def __init__(self, database: Database, stop: Stop) -> None:
        self._database = database
        self._stop = stop
        self._lock = asyncio.Lock()

    async def transact(
        self,
        work: Callable[[AsyncConnection[Any]], Awaitable[Result]],
        tries: int | None = None,
    ) -> Result:
        """Run the work in its own transaction until it commits (see `Database.transact`)."""
        async with self._lock:
            return await self._database.transact(work, self._stop, tries)


async def process_lease(
    database: SharedDatabase,
    client: SourceClient,
    queries: Sequence[SourceQuery],
    lease: Lease,
    refresh: float,
    clock: Callable[[], datetime],
) -> None:
    """Query a source for the leased profiles and write what it answers.

    The profiles and the status of the source are written in two transactions: `schedule_all` locks
    the row of the source before those of profiles, so the opposite order could deadlock.

    Args:
        database: where to write.
        client: the client of the source.
        queries: the queries of its rules.
        lease: the profiles.
        refresh: seconds until an answered profile is due again.
        clock: returns the current time.

    Raises:
        StoppedWhileWaiting: Postgres does not answer and the process must stop.
    """
    timed_out = None
    try:
        user_ids = list(lease.user_ids.values())
        result = await query.run_queries(client, lease.source, queries, user_ids)
        if result.failure is None:
            await _write(database, lease, clock(), refresh, result)
            return
        failure, timed_out = result.failure, result.timed_out
    except StoppedWhileWaiting:
        raise
    except Exception as error:  # noqa: BLE001 - only this source is affected
        failure = isolation.reason(error)
    now = clock()
    breaker = await record_failure(database, lease.source, now, failure)
    if timed_out and len(lease.user_ids) == 1:
        written = await database.transact(
            lambda connection: store.write_timeout(
                connection, lease, timed_out, now, refresh, blames_source=breaker.blames_source
            )
        )
        _report(lease.source, written)
    else:
        await database.transact(
            lambda connection: schedule.return_unanswered(connection, lease, now)
        )


async def record_failure(
    database: SharedDatabase, source: str, now: datetime, failure: str
) -> Breaker:
    """Record that a source fails, so that each retry comes later than the one before.

    Returns:
        The new state of its breaker.
    """
    breaker = await database.transact(
        lambda connection: source_status.record_failure(connection, source, now, failure)
    )
    log.warning("source failed", source=source, error=failure, failures=breaker.failures)
    return breaker


async def _write(
    database: SharedDatabase, lease: Lease, now: datetime, refresh: float, result: SourceAnswers
) -> None:
    """Write the answers, and set aside those of profiles that Postgres refuses to write."""
    due = {profile: schedule.next_due(profile, refresh, now) for profile in lease.user_ids}
    answers = result.answers

    async def write(profiles: Sequence[str]) -> None:
        all_or_one = len(profiles) in (1, len(lease.user_ids))
        tries = isolation.TRIES if all_or_one else isolation.NARROWING_TRIES
        part = lease.only(profiles)
        written = await database.transact(
            lambda connection: store.write_answers(connection, part, answers, due), tries
        )
        _report(lease.source, written)

    async def set_aside(profile: str, error: Exception) -> None:
        part, reason = lease.only((profile,)), isolation.reason(error)
        log.error("values of a profile cannot be written", source=lease.source, error=reason)
        written = await database.transact(
            lambda connection: store.set_answers_aside(connection, part, answers, due, reason)
        )
        _report(lease.source, written)

    await isolation.narrow(list(lease.user_ids), write, set_aside)
    await database.transact(
        lambda connection: source_status.record_success(
            connection, lease.source, now, result.rule_errors
        )
    )


def _report(source: str, written: WriteResult) -> None:
    metrics.SOURCE_VALUES_WRITTEN.labels(source).inc(written.values)
    metrics.SOURCE_VALUES_SET_ASIDE.labels(source).inc(len(written.set_aside))
    if written.set_aside:
        reasons = Counter(item.reason for item in written.set_aside)
        log.error("values set aside", source=source, reasons=dict(reasons))
