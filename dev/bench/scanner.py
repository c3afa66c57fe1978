"""`scanner`: rows that other systems wrote, against one UPDATE from a table that knows the answer.

Without data: the scanner does not look at it.
"""

import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg

from dev.bench import servers
from dev.bench.processes import process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers
from dev.stack.ports import free_port
from merganser.runtime import sql
from merganser.runtime.settings import Settings

ROWS = 200_000

_SQL = sql.load(__package__, "external.sql")
_RESOLVED = "merganser_scanner_rows_resolved_total"


def measure(run: Run) -> Iterator[Finding]:
    """Rows per second, each time in a new database; the UPDATE has the same rows."""
    rows = run.events(ROWS)
    found: list[Round] = []
    with servers.running(kafka=False) as running:
        for _ in range(run.rounds):
            with servers.database(running) as url:
                found.append(_round(running, url, rows))
    yield finding("scanner", "rows/s", found)


def _round(running: Servers, url: str, rows: int) -> Round:
    with psycopg.connect(url, autocommit=True) as database:
        _execute(database, "insert", rows=rows)
        _execute(database, "settle")
        scanned = _scan(running, url, rows)
        for statement in ("remember", "index_known", "analyze_known", "forget", "empty"):
            _execute(database, statement)
        _execute(database, "insert_again")
        _execute(database, "settle")
        start = time.perf_counter()
        _execute(database, "update")
        return Round(scanned, rows / (time.perf_counter() - start))


def _scan(running: Servers, url: str, rows: int) -> float:
    """Rows per second from the first commit seen to the last, by the scanner's own count."""
    port = free_port(set())
    settings = Settings(_env_file=None)
    with process("scanner", running, settings, url, scanner_metrics_port=str(port)):
        first, start = _until(port, 1)
        last, end = _until(port, rows)
    return (last - first) / (end - start)


def _until(port: int, goal: int) -> tuple[float, float]:
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        (count,) = (float(line.split()[1]) for line in lines if line.startswith(_RESOLVED))
        if count >= goal:
            return count, time.perf_counter()
        time.sleep(0.02)


def _execute(database: psycopg.Connection[tuple[Any, ...]], name: str, **values: int) -> None:
    database.execute(_SQL[name], values or None)
