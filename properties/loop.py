"""The loop of the properties process: a step per interval, and the next at once if work is left."""

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import AsyncConnection

from merganser.rulebook import rule_store
from merganser.rulebook.rule_store import StoredRule
from merganser.runtime import isolation, metrics, sql
from merganser.runtime.lifecycle import Stop
from merganser.runtime.postgres import Database, describe, is_contention
from merganser.runtime.settings import PropertiesSettings
from properties import incremental, rebuild, store
from properties.rules.engine import Engine, day_of
from properties.rules.event_view import SkipReason
from properties.step import FailingRules, Step, StepCounts

log = structlog.get_logger(__name__)

_SQL = sql.load(__package__, "loop.sql")

_SKIP_METRICS = {
    SkipReason.UNFIT: metrics.VALUES_UNFIT,
    SkipReason.TOO_LONG: metrics.VALUES_TOO_LONG,
    SkipReason.CAPPED: metrics.VALUES_CAPPED,
}


class StepResult(NamedTuple):
    """What one transaction has done."""

    events: int
    """Placed events that it has taken."""
    counts: StepCounts
    more: bool
    """Whether there is more to do at once."""


class DefectiveRule(Exception):
    """A rule fails for all profiles and must be suspended."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key)
        self.key = key
        self.reason = reason


class PropertyUpdater:
    """Runs steps. It prepares the rules once and again when they change."""

    def __init__(self, max_events: int) -> None:
        """Take the approximate number of events of one step."""
        self._max_events = max_events
        self._failing_rules = FailingRules()
        self._revisions: list[int] | None = None
        self._engine = Engine([])

    async def run_step(
        self,
        connection: AsyncConnection[Any],
        now: datetime,
        max_events: int | None = None,
        *,
        careful: bool = False,
    ) -> StepResult:
        """Apply event changes; if none remain, rebuild profiles or backfill new rules.

        Args:
            connection: in a transaction that has not read anything yet.
            now: gives the day in UTC, for rules with a window.
            max_events: approximate number of events; the default is that of the updater.
            careful: isolate profiles for which Postgres rejects a statement.

        Raises:
            DefectiveRule: suspend the rule, then run the step again.
            Exception: a profile may be the cause, unless in careful mode.
        """
        await connection.execute(_SQL["use_snapshot"])
        cursor = await connection.execute(_SQL["try_leader_lock"])
        if await cursor.fetchone() != (True,):
            return StepResult(0, StepCounts(), more=False)
        stored = await rule_store.read_all_rules(connection)
        await rule_store.record_broken(connection, stored.broken)
        step = Step(
            connection,
            self._prepare(stored.rules),
            stored.rules,
            day_of(now),
            max_events or self._max_events,
            careful,
            self._failing_rules,
        )
        if careful:
            await connection.execute(_SQL["check_at_once"])
        applied = await incremental.apply_event_changes(step)
        more = not applied.exhausted
        if applied.exhausted:
            rebuilt = await rebuild.rebuild_profiles(step)
            expired = await rebuild.expire_windows(step, now)
            deleted = not rebuilt and await rebuild.delete_removed_properties(step, stored.keys)
            more = rebuilt or expired or deleted
        if key := self._failing_rules.update(step.counts.failed, step.counts.worked):
            raise DefectiveRule(key, step.counts.reasons.get(key, "unknown"))
        return StepResult(applied.events, step.counts, more)

    async def commit_step(self, database: Database, now: datetime, stop: Stop) -> StepResult:
        """Run a step until it commits, whatever the data is.

        A profile that fails is rebuilt, and set aside if that fails too. A rule that fails for all
        profiles is suspended.

        Args:
            database: the database to work on.
            now: as in `run_step`.
            stop: interrupts waiting for Postgres.

        Raises:
            psycopg.Error: data is not the cause, and retrying does not help.
            StoppedWhileWaiting: the process must stop.
        """
        max_events, careful = self._max_events, False
        while True:
            try:
                return await database.transact(
                    lambda connection: self.run_step(connection, now, max_events, careful=careful),  # noqa: B023 - awaited at once
                    stop,
                    isolation.TRIES if max_events > 1 else None,
                )
            except DefectiveRule as defective:
                await self._suspend(database, defective, stop)
            except Exception as error:
                if isinstance(error, psycopg.Error) and is_contention(error):
                    continue  # `transact` has waited between its tries
                if not isolation.blames_items(error) or max_events == 1:
                    raise
                log.warning("a step failed and is repeated in parts", error=describe(error))
                if careful:  # it takes too much time or memory
                    max_events = max(1, max_events // 10)
                careful = True

    async def _suspend(self, database: Database, defective: DefectiveRule, stop: Stop) -> None:
        log.error("rule suspended", rule=defective.key, reason=defective.reason)
        await database.transact(
            lambda connection: rule_store.suspend_rule(connection, defective.key, defective.reason),
            stop,
        )
        self._failing_rules.remove(defective.key)

    def _prepare(self, rules: list[StoredRule]) -> Engine:
        revisions = [rule.revision for rule in rules]
        if revisions != self._revisions:
            for stored in rules:
                try:
                    Engine([(stored.revision, stored.rule)])
                except Exception as error:
                    raise DefectiveRule(stored.rule.key, isolation.reason(error)) from error
            self._revisions = revisions
            self._engine = Engine((rule.revision, rule.rule) for rule in rules)
            for stored in rules:
                for counter in _SKIP_METRICS.values():
                    counter.labels(stored.rule.key)  # shown as 0 until it counts
        return self._engine


async def run(database: Database, settings: PropertiesSettings, stop: Stop) -> None:
    """Keep properties up to date until the process must stop."""
    updater = PropertyUpdater(settings.properties_batch)
    while not stop.is_set():
        start = time.monotonic()
        result = await updater.commit_step(database, datetime.now(UTC), stop)
        _report(result, time.monotonic() - start)
        if not result.more:
            await database.transact(_measure, stop)
            await stop.wait(settings.properties_interval)


def _report(result: StepResult, seconds: float) -> None:
    counts = result.counts
    metrics.PROPERTIES_SECONDS.observe(seconds)
    metrics.EVENTS_COUNTED.inc(result.events)
    metrics.PROPERTIES_WRITTEN.inc(counts.written)
    metrics.PROFILES_RECOUNTED.inc(counts.rebuilt)
    metrics.PROFILES_SET_ASIDE.inc(counts.set_aside)
    for (key, reason), count in counts.skips.items():
        _SKIP_METRICS[reason].labels(key).inc(count)
    if counts.set_aside:
        log.error("profiles set aside", profiles=counts.set_aside)
    if result.more or result.events or counts.written or counts.rebuilt:
        log.info(
            "properties brought up to date",
            events=result.events,
            written=counts.written,
            recounted=counts.rebuilt,
            unfit=counts.skips.total(),
            seconds=round(seconds, 3),
        )


async def _measure(connection: AsyncConnection[Any]) -> None:
    metrics.EVENT_CHANGES_AGE.set(await incremental.read_oldest_age(connection))
    done, _ = await rule_store.read_backfill_progress(connection)
    metrics.BACKFILL.set(done)
    metrics.RECOUNTS_PENDING.set(await store.count_rebuilds(connection))
    metrics.BROKEN_RULES.set(await rule_store.count_broken_rules(connection))
