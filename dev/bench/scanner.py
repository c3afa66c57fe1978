"""`scanner`: external rows, compared with one UPDATE from a table that has the profiles.

The rows have no data, as the scanner does not read it.
"""

import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg

from dev.bench import servers
from dev.bench.processes import cpu_by_name, cpu_each, process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers
from dev.stack.ports import free_port
from merganser.runtime import sql
from merganser.runtime.settings import Settings

ROWS = 200_000

_SQL = sql.load(__package__, "external.sql")
_RESOLVED = "merganser_scanner_rows_resolved_total"


def measure(run: Run) -> Iterator[Finding]:
    """Measure rows per second, in a new database each time; the UPDATE has the same rows."""
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
        _execute(database, "vacuum")
        scanned, cpu = _scan(running, url, rows)
        for statement in (
            "copy_profiles",
            "index_profiles",
            "analyze_profiles",
            "copy_rows",
            "empty",
        ):
            _execute(database, statement)
        _execute(database, "insert_again")
        _execute(database, "vacuum")
        start = time.perf_counter()
        _execute(database, "update")
        return Round(scanned, rows / (time.perf_counter() - start), cpu)


def _scan(running: Servers, url: str, rows: int) -> tuple[float, dict[str, float]]:
    """Return rows per second between the first and the last commit, and the CPU of a row.

    The scanner's metric has the number of rows.
    """
    port = free_port()
    settings = Settings(_env_file=None)
    with process("scanner", running, settings, url, scanner_metrics_port=str(port)) as scanner:
        processes = {"scanner": scanner, "postgres": servers.postgres(running)}
        first, start = _wait_for_rows(port, 1)
        used = cpu_by_name(processes)
        last, end = _wait_for_rows(port, rows)
        cpu = cpu_each(used, cpu_by_name(processes), last - first)
    return (last - first) / (end - start), cpu


def _wait_for_rows(port: int, goal: int) -> tuple[float, float]:
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        (count,) = (float(line.split()[1]) for line in lines if line.startswith(_RESOLVED))
        if count >= goal:
            return count, time.perf_counter()
        time.sleep(0.02)


def _execute(database: psycopg.Connection[tuple[Any, ...]], name: str, **values: int) -> None:
    database.execute(_SQL[name], values or None)
