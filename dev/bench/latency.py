"""`latency`: from accepted to resolved, compared with bare Kafka and one commit at the same rate.

The rate is a quarter of the rate of `end-to-end` on this machine, with the same requests. Postgres
records the time of each commit (`track_commit_timestamp`), so each event has its own latency: from
its `createdAt`, set by ingest, to the commit that wrote its data. The ceiling is two bare
processes: a producer that sends as many records at a time as a request has events, each with its
time, and a consumer that copies each fetch into a table without indexes and commits.
"""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg

from dev.bench import end_to_end, gateway, servers, topics
from dev.bench.drains import wait_until_committed
from dev.bench.load import drive
from dev.bench.processes import child, cpu_by_name, process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers
from merganser.runtime import sql

CONNECTIONS = 32
SHARE = 0.25

_SQL = sql.load(__package__, "latency.sql")


def measure(run: Run) -> Iterator[Finding]:
    """Measure the 50th and the 99th percentile in milliseconds."""
    requests = gateway.batches(run.events(300_000))
    halves: list[Round] = []
    tails: list[Round] = []
    with servers.running(kafka=True) as running:
        servers.keep_commit_times(running)
        rate = SHARE * end_to_end.measure_steady(running, requests, run).rate
        for _ in range(run.rounds):
            pipeline, cpu = _measure_pipeline(running, requests, rate, run)
            bare = _measure_bare(running, rate, run)
            halves.append(Round(pipeline[0], bare[0], cpu))
            tails.append(Round(pipeline[1], bare[1], cpu))
    yield finding("latency-p50", "ms", halves)
    yield finding("latency-p99", "ms", tails)


def _measure_pipeline(
    running: Servers, requests: list[bytes], rate: float, run: Run
) -> tuple[tuple[float, float], dict[str, float]]:
    """Return the percentiles of the pipeline at a steady rate, and the CPU of an event."""
    settings = topics.topic(running)
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
        gateway.ingest(running, settings, url) as ingest,
        process("resolver", running, settings, url) as resolver,
    ):
        processes = {"ingest": ingest.process, "resolver": resolver}
        driven = drive(
            ingest.port,
            requests,
            connections=CONNECTIONS,
            seconds=run.seconds(8),
            warmup=run.seconds(2),
            allowed=lambda seconds: rate * seconds / gateway.BATCH,
            sample=lambda: cpu_by_name(processes),
        )
        wait_until_committed(database, settings, driven.total * gateway.BATCH)
        percentiles = _percentiles(database, "pipeline", run)
        return percentiles, driven.microseconds_each(gateway.BATCH)


def _measure_bare(running: Servers, rate: float, run: Run) -> tuple[float, float]:
    settings = topics.topic(running)
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
    ):
        database.execute(_SQL["bare_table"])
        seconds = run.seconds(8) + run.seconds(2)
        topic = [running.kafka_bootstrap, settings.topic]
        bare = [sys.executable, "-m", "dev.bench.bare_latency"]
        with child([*bare, "consume", *topic, url]):
            pace = [str(rate), str(gateway.BATCH), str(seconds)]
            subprocess.run([*bare, "produce", *topic, *pace], check=True)
            _wait_for_last_record(database)
        return _percentiles(database, "bare", run)


def _wait_for_last_record(database: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Wait until the table has the last record."""
    while database.execute(_SQL["bare_last"]).fetchone() is None:
        pass


def _percentiles(
    database: psycopg.Connection[tuple[Any, ...]], which: str, run: Run
) -> tuple[float, float]:
    """Return the percentiles after the warm-up in milliseconds."""
    row = database.execute(_SQL[which], {"warmup": run.seconds(2)}).fetchone()
    if row is None:
        raise AssertionError("an aggregate has a row")
    return float(row[0]), float(row[1])
