"""`latency`: from accepted to resolved, against bare Kafka and one commit at the same rate.

The rate is a quarter of what `end-to-end` finds on this machine, in the same requests. Postgres
keeps the time of each commit (`track_commit_timestamp`), so every event has its own latency: from
the moment that ingest stamped it with to the commit that wrote its data. The ceiling: a producer
that sends as many records at a time as a request has events, with the time in them, and a consumer
that copies what it fetches into a table without indexes and commits, both bare and each a process.
"""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg

from dev.bench import end_to_end, gateway, servers, topics
from dev.bench.drains import wait_until_committed
from dev.bench.load import drive
from dev.bench.processes import child, process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers
from merganser.runtime import sql

CONNECTIONS = 32
SHARE = 0.25

_SQL = sql.load(__package__, "latency.sql")


def measure(run: Run) -> Iterator[Finding]:
    """Milliseconds: the 50th and the 99th percentile."""
    requests = gateway.batches(run.events(300_000))
    halves: list[Round] = []
    tails: list[Round] = []
    with servers.running(kafka=True) as running:
        servers.keep_commit_times(running)
        rate = SHARE * end_to_end.steady_rate(running, requests, run)
        for _ in range(run.rounds):
            ours = _ours(running, requests, rate, run)
            bare = _bare(running, rate, run)
            halves.append(Round(ours[0], bare[0]))
            tails.append(Round(ours[1], bare[1]))
    yield finding("latency-p50", "ms", halves)
    yield finding("latency-p99", "ms", tails)


def _ours(running: Servers, requests: list[bytes], rate: float, run: Run) -> tuple[float, float]:
    """Percentiles of requests that are sent each at its time."""
    settings = topics.topic(running)
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
        gateway.ingest(running, settings, url) as ingest,
        process("resolver", running, settings, url),
    ):
        driven = drive(
            ingest.port,
            requests,
            connections=CONNECTIONS,
            seconds=run.seconds(8),
            warmup=run.seconds(2),
            allowed=lambda seconds: rate * seconds / gateway.BATCH,
        )
        wait_until_committed(database, settings, driven.total * gateway.BATCH)
        return _percentiles(database, "ours", run)


def _bare(running: Servers, rate: float, run: Run) -> tuple[float, float]:
    settings = topics.topic(running)
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
    ):
        database.execute(_SQL["bare_table"])
        seconds = run.seconds(8) + run.seconds(2)
        where = [running.kafka_bootstrap, settings.topic]
        bare = [sys.executable, "-m", "dev.bench.bare"]
        with child([*bare, "consume", *where, url]):
            pace = [str(rate), str(gateway.BATCH), str(seconds)]
            subprocess.run([*bare, "produce", *where, *pace], check=True)
            _settle(database)
        return _percentiles(database, "bare", run)


def _settle(database: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Wait until the marked last record is there."""
    while database.execute(_SQL["bare_last"]).fetchone() is None:
        pass


def _percentiles(
    database: psycopg.Connection[tuple[Any, ...]], which: str, run: Run
) -> tuple[float, float]:
    """Of what came after the warming up, in milliseconds."""
    row = database.execute(_SQL[which], {"warmup": run.seconds(2)}).fetchone()
    if row is None:
        raise AssertionError("an aggregate has a row")
    return float(row[0]), float(row[1])
