"""`properties`: the resolver's rate with ten rules and their process, compared with no rules."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from dev.bench import servers, topics
from dev.bench.drains import drain
from dev.bench.processes import cpu_seconds, process
from dev.bench.ratios import Finding, Round, Run, finding
from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime.postgres import connect


def _source(aggregation: str, column: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "pageview", "aggregation": aggregation, "column": column, **more}


RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "visits": ("integer", _source("count")),
    "visitsThisWeek": ("integer", _source("count", window=7)),
    "campaign": ("string", _source("most recent", "data.utm_campaign")),
    "firstCampaign": ("string", _source("least recent", "data.utm_campaign")),
    "campaigns": ("integer", _source("distinct count", "data.utm_campaign")),
    "spent": ("float", _source("sum", "data.price")),
    "averagePrice": ("float", _source("average", "data.price")),
    "highestPrice": ("float", _source("max", "data.price")),
    "lastSeen": ("date", _source("max", "occurredAt")),
    "secondsSince": ("float", _source("diff", "occurredAt", between="previous and last")),
}
"""Ten rules with different aggregations; each reads every event of the backlog."""


EVENTS = 100_000


def measure(run: Run) -> Iterator[Finding]:
    """Alternate drains of one backlog, with rules and without.

    The second figure is the time from the resolver's last commit until properties count all
    events, compared with the time of the drain.
    """
    events = run.events(EVENTS)
    with servers.running(kafka=True) as running:
        settings = topics.backlog(running, events)
        found: list[Round] = []
        behind: list[Round] = []
        for _ in range(run.rounds):
            with servers.database(running) as url:
                asyncio.run(_apply(url))
                with process("properties", running, settings, url) as counter:
                    start = cpu_seconds(counter)
                    drained = drain(running, settings, url, events)
                    behind.append(Round(_wait_until_counted(url), drained.seconds))
                    counted = (cpu_seconds(counter) - start) * 1e6 / events
            with servers.database(running) as url:
                ceiling = drain(running, settings, url, events).rate
                found.append(Round(drained.rate, ceiling, {**drained.cpu, "properties": counted}))
    yield finding("properties", "events/s", found)
    yield finding("properties-behind", "s", behind)


def _wait_until_counted(url: str) -> float:
    """Wait until no event change waits; return the seconds."""
    start = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as database:
        while database.execute('SELECT FROM "eventChanges" LIMIT 1').fetchone() is not None:
            time.sleep(0.05)
    return time.perf_counter() - start


async def _apply(url: str) -> None:
    rules: list[dict[str, Any]] = [
        {"key": "userId", "type": "string", "unique": True, "identifying": True}
    ]
    rules += [{"key": key, "type": kind, "events": events} for key, (kind, events) in RULES.items()]
    async with await connect(url, "bench") as connection:
        await rule_store.apply_file(connection, RuleFile.model_validate({"rules": rules}))
