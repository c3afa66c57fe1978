"""The loop: a step every interval, and the next one at once while there is more to do."""

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import AsyncConnection

from merganser.rulebook import rule_store
from merganser.rulebook.rule_store import Stored
from merganser.runtime import isolation, metrics, sql
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database, describe, is_contention
from merganser.runtime.settings import PropertiesSettings
from properties import incremental, rebuild
from properties.rules.engine import Rulebook, day_of
from properties.rules.monoid import Skip
from properties.store import SQL
from properties.suspects import Suspects
from properties.task import Tally, Task

log = structlog.get_logger(__name__)

_NOTES = sql.load(__package__, "notes.sql")

_SKIPPED = {
    Skip.UNFIT: metrics.VALUES_UNFIT,
    Skip.LONG: metrics.VALUES_TOO_LONG,
    Skip.CAPPED: metrics.VALUES_CAPPED,
}


class Step(NamedTuple):
    """What one transaction did."""

    events: int
    """Events that notes told of."""
    tally: Tally
    more: bool
    """Whether there is more to do at once."""


class RuleDefective(Exception):
    """A rule fails for every profile: it is not to be computed any more."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key)
        self.key = key
        self.reason = reason


class Properties:
    """The steps, and the rules made ready once for as long as they stay the same."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._suspects = Suspects()
        self._revisions: list[int] | None = None
        self._book = Rulebook([])

    async def step(
        self,
        connection: AsyncConnection[Any],
        now: datetime,
        at_most: int | None = None,
        *,
        careful: bool = False,
    ) -> Step:
        """Count what is new; if that is all, count again what must be, or backfill a new rule.

        Args:
            connection: in a transaction in which nothing was read yet.
            now: decides which day it is in UTC, for rules with a window.
            at_most: events, about; by default the batch.
            careful: isolate a profile for which Postgres refuses something.

        Raises:
            RuleDefective: once the rule is suspended the step can be repeated.
            Exception: what may be a profile's fault, unless in careful mode.
        """
        await connection.execute(SQL["snapshot"])
        cursor = await connection.execute(SQL["alone"])
        if await cursor.fetchone() != (True,):
            return Step(0, Tally(), more=False)
        applied = await rule_store.read(connection)
        await rule_store.note_broken(connection, applied.broken)
        task = Task(
            connection,
            self._ready(applied.rules),
            applied.rules,
            day_of(now),
            at_most or self._batch,
            careful,
            self._suspects,
        )
        followed = await incremental.follow(task)
        more = not followed.exhausted
        if followed.exhausted:
            recounted = await rebuild.recount(task)
            expired = await rebuild.expire(task, now)
            swept = not recounted and await rebuild.sweep(task, applied.keys)
            more = recounted or expired or swept
        if key := self._suspects.judge(task.tally.failed, task.tally.worked):
            raise RuleDefective(key, task.tally.reasons.get(key, "unknown"))
        return Step(followed.events, task.tally, more)

    async def advance(self, database: Database, now: datetime, stop: Stop) -> Step:
        """Take a step that commits, whatever the data is.

        A profile that fails is counted again, and set aside if that fails; a rule that fails for
        every profile is not computed any more.

        Args:
            database: to work on.
            now: as for `step`.
            stop: ends the waiting for Postgres.

        Raises:
            psycopg.Error: what no data is to blame for, and no waiting helps with.
            StoppedWhileWaiting: the process is to stop.
        """
        at_most, careful = self._batch, False
        while True:
            try:
                return await database.transact(
                    lambda connection: self.step(connection, now, at_most, careful=careful),  # noqa: B023 - awaited at once
                    stop,
                    isolation.TRIES if at_most > 1 else None,
                )
            except RuleDefective as defective:
                await self._suspend(database, defective, stop)
            except Exception as error:
                if isinstance(error, psycopg.Error) and is_contention(error):
                    continue  # `transact` has waited between its tries
                if not isolation.blames_items(error) or at_most == 1:
                    raise
                log.warning("a step failed and is repeated in parts", error=describe(error))
                if careful:  # it takes too long, or too much memory, as it is
                    at_most = max(1, at_most // 10)
                careful = True

    async def _suspend(self, database: Database, defective: RuleDefective, stop: Stop) -> None:
        log.error("a rule is not computed any more", rule=defective.key, reason=defective.reason)
        await database.transact(
            lambda connection: rule_store.suspend(connection, defective.key, defective.reason), stop
        )
        self._suspects.forget(defective.key)

    def _ready(self, rules: list[Stored]) -> Rulebook:
        revisions = [rule.revision for rule in rules]
        if revisions != self._revisions:
            for one in rules:
                try:
                    Rulebook([(one.revision, one.rule)])
                except Exception as error:
                    raise RuleDefective(one.rule.key, isolation.reason(error)) from error
            self._revisions = revisions
            self._book = Rulebook((rule.revision, rule.rule) for rule in rules)
        return self._book


async def run(database: Database, settings: PropertiesSettings, stop: Stop) -> None:
    """Keep properties up to date until the process is to stop."""
    properties = Properties(settings.properties_batch)
    while not stop.is_set():
        start = time.monotonic()
        done = await properties.advance(database, datetime.now(UTC), stop)
        _count(done, time.monotonic() - start)
        if not done.more:
            await database.transact(_measure, stop)
            await stop.wait(settings.properties_interval)


def _count(done: Step, seconds: float) -> None:
    tally = done.tally
    metrics.PROPERTIES_SECONDS.observe(seconds)
    metrics.EVENTS_COUNTED.inc(done.events)
    metrics.PROPERTIES_WRITTEN.inc(tally.written)
    metrics.PROFILES_RECOUNTED.inc(tally.recounted)
    metrics.PROFILES_SET_ASIDE.inc(tally.set_aside)
    for (key, skip), count in tally.skips.items():
        _SKIPPED[skip].labels(key).inc(count)
    if tally.set_aside:
        log.error("profiles set aside", profiles=tally.set_aside)
    if done.more or done.events or tally.written or tally.recounted:
        log.info(
            "properties brought up to date",
            events=done.events,
            written=tally.written,
            recounted=tally.recounted,
            unfit=tally.skips.total(),
            seconds=round(seconds, 3),
        )


async def _measure(connection: AsyncConnection[Any]) -> None:
    cursor = await connection.execute(_NOTES["waiting"])
    (age,) = await cursor.fetchone() or (0,)
    metrics.NOTES_AGE.set(float(age))
    done, _, pending = await rule_store.backfill(connection)
    metrics.BACKFILL.set(done)
    metrics.RECOUNTS_PENDING.set(pending)
    metrics.BROKEN_RULES.set(await rule_store.broken(connection))
