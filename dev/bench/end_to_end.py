"""`end-to-end`: HTTP to resolved on one machine, compared with the slower of its halves.

The generator pauses while `LAG` events are accepted but not resolved, which finds the highest rate
with a steady lag. The halves are ingest without a resolver, and then a resolver that drains those
events without ingest.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import psycopg

from dev.bench import gateway, servers, topics
from dev.bench.drains import committed, drain
from dev.bench.load import drive
from dev.bench.processes import process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers

CONNECTIONS = 32
LAG = 20_000
"""In events: four batches of the resolver."""

POLL_SECONDS = 0.05


def measure(run: Run) -> Iterator[Finding]:
    """Measure resolved events per second at a steady lag."""
    requests = gateway.batches(run.events(300_000))
    with servers.running(kafka=True) as running:
        rounds = [
            Round(steady_rate(running, requests, run), min(_halves(running, requests, run)))
            for _ in range(run.rounds)
        ]
    yield finding("end-to-end", "events/s", rounds)


def steady_rate(running: Servers, requests: Sequence[bytes], run: Run) -> float:
    """Return resolved events per second of the whole pipeline at a steady lag."""
    settings = topics.topic(running)
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
        gateway.ingest(running, settings, url) as ingest,
        process("resolver", running, settings, url),
    ):
        polled, resolved = 0.0, 0

        def allowed(seconds: float) -> float:
            nonlocal polled, resolved
            if seconds - polled > POLL_SECONDS:
                polled, resolved = seconds, committed(database, settings)
            return (resolved + LAG) / gateway.BATCH

        driven = drive(
            ingest.port,
            requests,
            connections=CONNECTIONS,
            seconds=run.seconds(15),
            warmup=run.seconds(5),
            allowed=allowed,
            sample=lambda: committed(database, settings),
        )
        return driven.sampled / driven.seconds


class _Halves(NamedTuple):
    ingest: float
    resolver: float


def _halves(running: Servers, requests: Sequence[bytes], run: Run) -> _Halves:
    settings = topics.topic(running)
    with servers.database(running) as url:
        with gateway.ingest(running, settings, url) as ingest:
            driven = drive(
                ingest.port,
                requests,
                connections=CONNECTIONS,
                seconds=run.seconds(5),
            )
            sent = driven.total * gateway.BATCH
        return _Halves(driven.rate * gateway.BATCH, drain(running, settings, url, sent).rate)
