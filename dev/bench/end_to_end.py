"""`end-to-end`: HTTP to resolved on one machine, compared with the slower of its halves.

The generator pauses while `LAG` events are accepted but not resolved, which finds the highest rate
with a steady lag. The halves are ingest without a resolver, and then a resolver that drains those
events without ingest.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import psycopg

from dev.bench import gateway, servers, topics
from dev.bench.drains import committed, drain
from dev.bench.load import drive
from dev.bench.processes import cpu_by_name, process
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
            Round(steady.rate, min(_halves(running, requests, run)), steady.cpu)
            for steady in (measure_steady(running, requests, run) for _ in range(run.rounds))
        ]
    yield finding("end-to-end", "events/s", rounds)


class Steady(NamedTuple):
    """The whole pipeline at a steady lag."""

    rate: float
    """Resolved events per second."""
    cpu: Mapping[str, float]
    """CPU microseconds of a resolved event by process."""


def measure_steady(running: Servers, requests: Sequence[bytes], run: Run) -> Steady:
    """Measure the whole pipeline at a steady lag."""
    settings = topics.topic(running)
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
        gateway.ingest(running, settings, url) as ingest,
        process("resolver", running, settings, url) as resolver,
    ):
        polled, resolved = 0.0, 0
        processes = {
            "ingest": ingest.process,
            "kafka": servers.broker(running),
            "resolver": resolver,
            "postgres": servers.postgres(running),
        }

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
            sample=lambda: {
                "resolved": committed(database, settings),
                **cpu_by_name(processes),
            },
        )
        grown = driven.sampled["resolved"]
        cpu = {name: driven.sampled[name] * 1e6 / grown for name in processes}
        return Steady(grown / driven.seconds, cpu)


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
