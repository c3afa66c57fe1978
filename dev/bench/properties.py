"""`properties`: the resolver's rate while ten rules are kept up to date, against without rules."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from dev.bench import servers, topics
from dev.bench.drains import drain
from dev.bench.processes import process
from dev.bench.ratios import Finding, Round, Run, finding
from merganser.rulebook import rule_store
from merganser.rulebook.language import RuleFile
from merganser.runtime.postgres import connect


def _of(aggregation: str, column: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "pageview", "aggregation": aggregation, "column": column, **more}


RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "visits": ("integer", _of("count")),
    "visitsThisWeek": ("integer", _of("count", window=7)),
    "campaign": ("string", _of("most recent", "data.utm_campaign")),
    "firstCampaign": ("string", _of("least recent", "data.utm_campaign")),
    "campaigns": ("integer", _of("distinct count", "data.utm_campaign")),
    "spent": ("float", _of("sum", "data.price")),
    "averagePrice": ("float", _of("average", "data.price")),
    "highestPrice": ("float", _of("max", "data.price")),
    "lastSeen": ("date", _of("max", "occurredAt")),
    "secondsSince": ("float", _of("diff", "occurredAt", between="previous and last")),
}
"""Ten, of as many kinds; all are about every event of the backlog."""


EVENTS = 100_000


def measure(run: Run) -> Iterator[Finding]:
    """Alternate drains of one backlog, with and without.

    The second figure is how long after the resolver's last commit properties show all events,
    beside the time that the drain took.
    """
    events = run.events(EVENTS)
    with servers.running(kafka=True) as running:
        settings = topics.backlog(running, events)
        found: list[Round] = []
        behind: list[Round] = []
        for _ in range(run.rounds):
            with servers.database(running) as url:
                asyncio.run(_apply(url))
                with process("properties", running, settings, url):
                    kept = drain(running, settings, url, events)
                    behind.append(Round(_shown(url), kept.seconds))
            with servers.database(running) as url:
                found.append(Round(kept.rate, drain(running, settings, url, events).rate))
    yield finding("properties", "events/s", found)
    yield finding("properties-behind", "s", behind)


def _shown(url: str) -> float:
    """Seconds from now until no change of events waits."""
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
