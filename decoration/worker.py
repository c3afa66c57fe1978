"""Looks who is due, and has the sources asked for them.

Its transactions are short, and none is open while a source is asked: see `schedule.py`.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from decoration import schedule, source_status
from decoration.breaker import Breaker
from decoration.database import Ours
from decoration.process_claim import decorate, fail
from decoration.queries import Question, questions
from decoration.query import PATIENCE
from decoration.schedule import Claim
from decoration.source_client import Company
from decoration.source_status import SourceState
from decoration.sources import MISSING, sources
from merganser.rulebook import rule_store
from merganser.rulebook.language import Source
from merganser.runtime import isolation, metrics
from merganser.runtime.lifecycle import Stop, StoppedWhileWaiting
from merganser.runtime.postgres import Database

log = structlog.get_logger(__name__)

LEASE_SECONDS = 60.0
"""A claim's lease, beside the time that its questions may take."""
LEAVE_SECONDS = 1.0
"""For the calls in hand when the process is to stop; their claims are given back then."""


class Decoration:
    """The sources, and the calls under way."""

    def __init__(
        self,
        database: Database,
        stop: Stop,
        environment: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ours = Ours(database, stop)
        self._stop = stop
        self._environment = environment
        self._clock = clock
        self._companies: dict[str, tuple[Source, Company]] = {}
        self._calls: dict[asyncio.Task[None], Claim] = {}
        self._ended = asyncio.Event()

    async def run(self, interval: float) -> None:
        """Look every `interval` seconds, and at once after a call has ended, until the stop."""
        while not self._stop.is_set():
            if not await self.look():
                await self.wait(interval)
        await self.close()

    async def look(self) -> bool:
        """Claim what is due and begin to ask for it; whether to look again at once."""
        now = self._clock()
        self._ended.clear()
        self._check()

        async def known(
            connection: AsyncConnection[Any],
        ) -> tuple[dict[str, list[Question]], dict[str, Source | str], dict[str, SourceState]]:
            return (
                questions(await rule_store.rules(connection)),
                await sources(connection),
                await source_status.states(connection, now),
            )

        asked, defined, seen = await self._ours.transact(known)
        more = await self._forget(asked, seen)
        for name, group in asked.items():
            source = defined.get(name, MISSING)
            try:
                more |= await self._look_at(name, group, source, seen.get(name), now)
            except Exception as error:
                if not isolation.blames_items(error):
                    raise
                await self._fail(name, seen.get(name), isolation.reason(error), now)
        return more

    async def wait(self, seconds: float) -> None:
        """Wait until a call has ended, or so long, or until the process is to stop."""
        try:
            await self._stop.unless(asyncio.wait_for(self._ended.wait(), seconds))
        except TimeoutError:
            return

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._calls)

    async def settle(self) -> None:
        """Wait for the calls under way."""
        await asyncio.gather(*self._calls)

    async def close(self) -> None:
        """Leave the calls under way, and give back what was claimed for them."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=LEAVE_SECONDS)
        left = {call: claimed for call, claimed in self._calls.items() if not call.done()}
        for call in left:
            call.cancel()
            del self._calls[call]
        if left:
            await self._ours.transact(
                lambda connection: schedule.release(connection, list(left.values()))
            )
        for _, company in self._companies.values():
            company.close()
        self._check()

    async def _forget(
        self, asked: Mapping[str, list[Question]], seen: Mapping[str, SourceState]
    ) -> bool:
        """Drop what is left of sources that no rule asks any more."""
        if gone := seen.keys() - asked.keys():
            await self._ours.transact(lambda connection: source_status.forget(connection, gone))
        for name in self._companies.keys() - asked.keys():
            self._companies.pop(name)[1].close()
        return await self._ours.transact(
            lambda connection: schedule.forget(connection, list(asked))
        )

    async def _look_at(
        self,
        name: str,
        group: list[Question],
        source: Source | str,
        seen: SourceState | None,
        now: datetime,
    ) -> bool:
        """Do what there is to do for one source; whether to look again at once."""
        more = await self._schedule(name, group, seen, now)
        if seen is not None:
            self._measure(name, seen, now)
            if isinstance(source, str):
                await self._fail(name, seen, source, now)
            else:
                await self._begin(name, source, self._company(name, source), group, seen)
        return more

    async def _fail(self, name: str, seen: SourceState | None, failure: str, now: datetime) -> None:
        """Note that a source cannot be asked, as often as it would be tried again."""
        if seen is not None and seen.breaker.at_most(1, now):
            await fail(self._ours, name, now, failure)

    async def _schedule(
        self, name: str, group: list[Question], seen: SourceState | None, now: datetime
    ) -> bool:
        """Schedule some of all profiles if there is a new rule; whether to look again at once."""
        revisions = sorted(revision for question in group for revision in question.revisions)
        if seen is None or list(seen.revisions) != revisions:
            await self._ours.transact(
                lambda connection: source_status.put_revisions(connection, name, revisions)
            )
            return True
        if seen.scheduled:
            return False
        keys = [key for question in group for key in question.keys]
        return await self._ours.transact(
            lambda connection: schedule.schedule_all(connection, name, keys, now)
        )

    async def _begin(
        self, name: str, source: Source, company: Company, group: list[Question], seen: SourceState
    ) -> None:
        """Begin as many calls as the source allows, for as many profiles as are due.

        After a failure it is one at a time, whose end says how to go on.
        """
        patience = timedelta(seconds=LEASE_SECONDS + (PATIENCE + 1) * source.timeout * len(group))
        at_once = 1 if seen.breaker.failures else source.pool
        free = at_once - sum(claimed.source == name for claimed in self._calls.values())
        due = seen.due
        while due > 0 and min(free, company.free) > 0:
            at_most = seen.breaker.at_most(min(source.batch, due), self._clock())
            claimed = await self._take(name, seen.breaker, at_most, patience) if at_most else None
            if claimed is None or not claimed.users:
                return
            call = asyncio.create_task(
                decorate(self._ours, company, group, claimed, source.refresh, self._clock)
            )
            self._calls[call] = claimed
            call.add_done_callback(lambda _: self._ended.set())
            free -= 1
            due -= at_most

    async def _take(
        self, name: str, breaker: Breaker, at_most: int, patience: timedelta
    ) -> Claim | None:
        """Claim profiles; None if another process tries already whether the source is back."""
        now = self._clock()

        async def work(connection: AsyncConnection[Any]) -> Claim | None:
            if breaker.retry_at and not await source_status.try_again(
                connection, name, breaker, now, patience
            ):
                return None
            return await schedule.claim(connection, name, at_most, now, now + patience)

        return await self._ours.transact(work)

    def _company(self, name: str, source: Source) -> Company:
        if name not in self._companies or self._companies[name][0] != source:
            if name in self._companies:
                self._companies[name][1].close()
            self._companies[name] = source, Company(source, self._environment)
        return self._companies[name][1]

    def _check(self) -> None:
        """Forget the calls that have ended. What one could not give back comes with its lease.

        Raises:
            StoppedWhileWaiting: Postgres is away and the process is to stop.
        """
        for call in [call for call in self._calls if call.done()]:
            claimed = self._calls.pop(call)
            error = call.exception()
            if isinstance(error, StoppedWhileWaiting):
                raise error
            if error is not None:
                log.error("call failed", source=claimed.source, error=isolation.reason(error))

    def _measure(self, name: str, seen: SourceState, now: datetime) -> None:
        retry_at, succeeded_at = seen.breaker.retry_at, seen.succeeded_at
        open_for = (retry_at - now).total_seconds() if retry_at else 0
        metrics.SOURCE_PENDING.labels(name).set(seen.due)
        metrics.SOURCE_OPEN.labels(name).set(max(open_for, 0))
        if succeeded_at:
            metrics.SOURCE_AGE.labels(name).set((now - succeeded_at).total_seconds())
