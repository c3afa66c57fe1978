"""The properties process: a step every interval, and the next at once while there is more to do."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from properties import follow, recount, rulebook
from properties.reckoning import Rulebook, day_of
from properties.rulebook import Stored
from properties.store import SQL
from runtime import lifecycle, logs, metrics, sql
from runtime.lifecycle import Stop
from runtime.ops import ops_server
from runtime.postgres import Database
from runtime.settings import PropertiesSettings
from schemas import migrations

log = structlog.get_logger(__name__)

_NOTES = sql.load(__package__, "notes.sql")


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction did."""

    events: int = 0
    written: int = 0
    recounted: int = 0
    unfit: Counter[str] | None = None
    more: bool = False
    """Whether there is more to do at once."""


class Properties:
    """The steps, and the rules made ready once for as long as they stay the same."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._revisions: list[int] | None = None
        self._book = Rulebook([])

    async def step(self, connection: AsyncConnection[Any], now: datetime) -> Step:
        """Count what is new; if that is all, count anew what must be, or backfill a new rule.

        Args:
            connection: in a transaction in which nothing was read yet.
            now: decides which day it is in UTC, for rules with a window.
        """
        await connection.execute(SQL["snapshot"])
        cursor = await connection.execute(SQL["alone"])
        if await cursor.fetchone() != (True,):
            return Step()
        rules = await rulebook.rules(connection)
        book, today, unfit = self._ready(rules), day_of(now), Counter[str]()
        followed = await follow.follow(
            connection, book, rules, today, self._batch, lambda key: unfit.update((key,))
        )
        if not followed.exhausted:
            return Step(followed.events, followed.written, unfit=unfit, more=True)
        recounted = await recount.recount(
            connection, book, rules, today, self._batch, lambda key: unfit.update((key,))
        )
        expired = await recount.expire(connection, book, now, today)
        keys = [rule.rule.key for rule in rules]
        swept = not recounted.more and await recount.sweep(connection, keys, self._batch)
        return Step(
            followed.events,
            followed.written,
            recounted.finished,
            unfit,
            more=recounted.more or expired or swept,
        )

    def _ready(self, rules: list[Stored]) -> Rulebook:
        revisions = [rule.revision for rule in rules]
        if revisions != self._revisions:
            self._revisions = revisions
            self._book = Rulebook((rule.revision, rule.rule) for rule in rules)
        return self._book


async def keep(database: Database, settings: PropertiesSettings, stop: Stop) -> None:
    """Keep properties up to date until the process is to stop."""
    properties = Properties(settings.properties_batch)

    async def step(connection: AsyncConnection[Any]) -> Step:
        return await properties.step(connection, datetime.now(UTC))

    while not stop.is_set():
        start = time.monotonic()
        done = await database.transact(step, stop)
        seconds = time.monotonic() - start
        metrics.PROPERTIES_SECONDS.observe(seconds)
        metrics.EVENTS_COUNTED.inc(done.events)
        metrics.PROPERTIES_WRITTEN.inc(done.written)
        metrics.PROFILES_RECOUNTED.inc(done.recounted)
        unfit = done.unfit or Counter[str]()
        for key, count in unfit.items():
            metrics.VALUES_UNFIT.labels(key).inc(count)
        if done.more or done.events or done.written or done.recounted:
            log.info(
                "properties brought up to date",
                events=done.events,
                written=done.written,
                recounted=done.recounted,
                unfit=unfit.total(),
                seconds=round(seconds, 3),
            )
        if not done.more:
            await database.transact(_measure, stop)
            await stop.wait(settings.properties_interval)


async def _measure(connection: AsyncConnection[Any]) -> None:
    cursor = await connection.execute(_NOTES["waiting"])
    (age,) = await cursor.fetchone() or (0,)
    metrics.NOTES_AGE.set(float(age))
    done, _, pending = await rulebook.backfill(connection)
    metrics.BACKFILL.set(done)
    metrics.RECOUNTS_PENDING.set(pending)


async def _main(settings: PropertiesSettings, stop: Stop) -> None:
    log.info("starting", interval=settings.properties_interval)
    database = Database(settings.database_url.get_secret_value(), "properties")
    ops = ops_server(
        settings.ops_host,
        settings.properties_metrics_port,
        metrics.PROPERTIES,
        {"postgres": lambda: database.failure},
    )
    serving = asyncio.create_task(ops.serve())
    try:
        await database.transact(migrations.check, stop)
        await keep(database, settings, stop)
    finally:
        await database.close()
        ops.should_exit = True
        await serving
        log.info("stopped")


def main() -> None:
    """Run until a signal."""
    settings = PropertiesSettings.read()
    logs.configure(settings, "properties")
    lifecycle.run(lambda stop: _main(settings, stop))
