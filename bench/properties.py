"""`properties`: the resolver's rate while ten rules are kept up to date, against without rules."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psycopg

from bench import servers
from bench.ratios import Round, report
from bench.resolver import backlog, drain
from properties import rulebook
from properties.rules import RuleFile
from runtime.postgres import connect
from stack.ports import free_port


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


def main(events: int = 200_000, rounds: int = 5) -> None:
    """Alternate drains of one backlog, with and without."""
    with servers.running(kafka=True) as running:
        settings = backlog(running, events)
        found: list[Round] = []
        behind: list[float] = []
        for _ in range(rounds):
            with servers.database(running) as url:
                asyncio.run(_apply(url))
                with _properties(url):
                    kept = drain(running, settings, url, events)
                    behind.append(_shown(url))
            with servers.database(running) as url:
                found.append(Round(kept, drain(running, settings, url, events)))
    report("properties", "events/s", found)
    if "--json" not in sys.argv:
        print(f"properties show the last event {median(behind):.1f} s after the resolver's commit")


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
        await rulebook.apply(connection, RuleFile.model_validate({"rules": rules}))


@contextmanager
def _properties(url: str) -> Iterator[None]:
    env = os.environ | {
        "MERGANSER_DATABASE_URL": url,
        "MERGANSER_PROPERTIES_METRICS_PORT": str(free_port(set())),
        "MERGANSER_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([sys.executable, "-m", "cli", "properties"], env=env)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
