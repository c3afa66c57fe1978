"""The worker leases due profiles and starts a task that queries their source for each lease.

Its transactions are short, and none is open while a source is queried: see `schedule.py`.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from decoration import schedule, source_status
from decoration.breaker import Breaker
from decoration.process_lease import SharedDatabase, process_lease, record_failure
from decoration.query import MAX_TIMEOUTS, SourceQuery, group_queries
from decoration.schedule import Lease
from decoration.source_client import SourceClient
from decoration.source_status import MISSING_SOURCE, SourceStatus
from merganser.rulebook import rule_store
from merganser.rulebook.language import Source
from merganser.runtime import isolation, metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database

log = structlog.get_logger(__name__)

LEASE_SECONDS = 60.0
"""Time of a lease in addition to the time that its queries may take."""
CLOSE_SECONDS = 1.0
"""Time for running tasks when the process must stop. Then their leases are released."""


class DecorationWorker:
    """The clients of all sources, and the tasks that process leases."""

    def __init__(
        self,
        database: Database,
        stop: Stop,
        environment: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = SharedDatabase(database, stop)
        self._stop = stop
        self._environment = environment
        self._clock = clock
        self._clients: dict[str, tuple[Source, SourceClient]] = {}
        self._tasks: dict[asyncio.Task[None], Lease] = {}
        self._task_ended = asyncio.Event()

    async def run(self, interval: float) -> None:
        """Poll every `interval` seconds, and whenever a task has ended, until the process stops."""
        while not self._stop.is_set():
            if not await self.poll():
                await self.wait(interval)
        await self.close()

    async def poll(self) -> bool:
        """Lease due profiles of all sources and start tasks for them.

        Returns:
            Whether to poll again at once.
        """
        now = self._clock()
        self._task_ended.clear()
        self._collect_tasks()

        async def read(
            connection: AsyncConnection[Any],
        ) -> tuple[dict[str, list[SourceQuery]], dict[str, Source | str], dict[str, SourceStatus]]:
            return (
                group_queries(await rule_store.read_rules(connection)),
                await source_status.read_definitions(connection),
                await source_status.read_statuses(connection, now),
            )

        queries, definitions, statuses = await self._database.transact(read)
        more = await self._delete_unused(queries, statuses)
        for name, group in queries.items():
            source = definitions.get(name, MISSING_SOURCE)
            try:
                more |= await self._poll_source(name, group, source, statuses.get(name), now)
            except Exception as error:
                if not isolation.blames_items(error):
                    raise
                await self._fail(name, statuses.get(name), isolation.reason(error), now)
        return more

    async def wait(self, seconds: float) -> None:
        """Wait until a task ends, the time has passed or the process must stop."""
        try:
            await self._stop.unless(asyncio.wait_for(self._task_ended.wait(), seconds))
        except TimeoutError:
            return

    @property
    def busy(self) -> bool:
        """Whether tasks are running."""
        return bool(self._tasks)

    async def join(self) -> None:
        """Wait for the running tasks."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Cancel the tasks that do not end soon, and release their leases."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        running = {task: lease for task, lease in self._tasks.items() if not task.done()}
        for task in running:
            task.cancel()
            del self._tasks[task]
        if running:
            await self._database.transact(
                lambda connection: schedule.release(connection, list(running.values()))
            )
        for _, client in self._clients.values():
            client.close()
        self._collect_tasks()

    async def _delete_unused(
        self, queries: Mapping[str, list[SourceQuery]], statuses: Mapping[str, SourceStatus]
    ) -> bool:
        """Delete what is stored for sources that no rule queries; return whether more remains."""
        if unused := statuses.keys() - queries.keys():
            await self._database.transact(
                lambda connection: source_status.delete_statuses(connection, unused)
            )
        for name in self._clients.keys() - queries.keys():
            self._clients.pop(name)[1].close()
        return await self._database.transact(
            lambda connection: schedule.delete_unused(connection, list(queries))
        )

    async def _poll_source(
        self,
        name: str,
        queries: list[SourceQuery],
        source: Source | str,
        status: SourceStatus | None,
        now: datetime,
    ) -> bool:
        """Schedule and lease profiles of one source; return whether to poll again at once."""
        more = await self._schedule(name, queries, status, now)
        if status is not None:
            _measure(name, status, now)
            if isinstance(source, str):
                await self._fail(name, status, source, now)
            else:
                await self._start_tasks(name, source, queries, status)
        return more

    async def _fail(
        self, name: str, status: SourceStatus | None, failure: str, now: datetime
    ) -> None:
        """Record that a source cannot be queried, as often as its breaker allows a query."""
        if status is not None and status.breaker.allowed_profiles(1, now):
            await record_failure(self._database, name, now, failure)

    async def _schedule(
        self, name: str, queries: list[SourceQuery], status: SourceStatus | None, now: datetime
    ) -> bool:
        """Schedule some profiles for new rules; return whether to poll again at once."""
        revisions = sorted(revision for query in queries for revision in query.revisions)
        if status is None or list(status.revisions) != revisions:
            await self._database.transact(
                lambda connection: source_status.write_revisions(connection, name, revisions)
            )
            return True
        if status.scheduled:
            return False
        keys = [key for query in queries for key in query.keys]
        return await self._database.transact(
            lambda connection: schedule.schedule_all(connection, name, keys, now)
        )

    async def _start_tasks(
        self, name: str, source: Source, queries: list[SourceQuery], status: SourceStatus
    ) -> None:
        """Start as many tasks as the source allows, for as many profiles as are due.

        After a failure only one task runs at a time; its result decides how to continue.
        """
        client = self._get_client(name, source)
        query_seconds = (MAX_TIMEOUTS + 1) * source.timeout * len(queries)
        lease_time = timedelta(seconds=LEASE_SECONDS + query_seconds)
        max_tasks = 1 if status.breaker.failures else source.pool
        free = max_tasks - sum(lease.source == name for lease in self._tasks.values())
        due = status.due
        while due > 0 and min(free, client.free) > 0:
            allowed = status.breaker.allowed_profiles(min(source.batch, due), self._clock())
            lease = (
                await self._lease(name, status.breaker, allowed, lease_time) if allowed else None
            )
            if lease is None or not lease.user_ids:
                return
            task = asyncio.create_task(
                process_lease(self._database, client, queries, lease, source.refresh, self._clock)
            )
            self._tasks[task] = lease
            task.add_done_callback(lambda _: self._task_ended.set())
            free -= 1
            due -= allowed

    async def _lease(
        self, name: str, breaker: Breaker, max_profiles: int, lease_time: timedelta
    ) -> Lease | None:
        """Lease profiles; return None if another process queries a half-open source."""
        now = self._clock()

        async def work(connection: AsyncConnection[Any]) -> Lease | None:
            if breaker.retry_at and not await source_status.start_half_open_query(
                connection, name, breaker, now, lease_time
            ):
                return None
            return await schedule.lease_due_profiles(
                connection, name, max_profiles, now, now + lease_time
            )

        return await self._database.transact(work)

    def _get_client(self, name: str, source: Source) -> SourceClient:
        if name not in self._clients or self._clients[name][0] != source:
            if name in self._clients:
                self._clients[name][1].close()
            self._clients[name] = source, SourceClient(source, self._environment)
        return self._clients[name][1]

    def _collect_tasks(self) -> None:
        """Remove the tasks that have ended. If one has failed, its lease expires.

        Raises:
            StoppedWhileWaiting: Postgres does not answer and the process must stop.
        """
        for task in [task for task in self._tasks if task.done()]:
            lease = self._tasks.pop(task)
            error = task.exception()
            if isinstance(error, StoppedWhileWaiting):
                raise error
            if error is not None:
                log.error("task failed", source=lease.source, error=isolation.reason(error))


def _measure(name: str, status: SourceStatus, now: datetime) -> None:
    retry_at, succeeded_at = status.breaker.retry_at, status.succeeded_at
    open_seconds = (retry_at - now).total_seconds() if retry_at else 0
    metrics.SOURCE_PENDING.labels(name).set(status.due)
    metrics.SOURCE_OPEN.labels(name).set(max(open_seconds, 0))
    if succeeded_at:
        metrics.SOURCE_AGE.labels(name).set((now - succeeded_at).total_seconds())
