"""`workers`: ingest with two workers compared with one worker, at one event a request.

Each worker may use only a part of a core (`WORKER_CORES`), so that the workers are the limit, and
neither Kafka, the generator nor the machine, even with two cores. The figures show that it is so:
`workers-busy` is near its ceiling, what two workers may use, while `workers-generator` and
`workers-kafka` are well below theirs. `workers-cost` is the CPU time of a request with two workers,
compared with one.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dev.bench import gateway, servers, topics
from dev.bench.cpu_limit import cpu_limit
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers

WORKER_CORES = 0.3
"""So little that two workers, the generator and Kafka together use about one core."""

CONNECTIONS = 256
"""So many that each worker has about half of them."""


@dataclass(frozen=True, slots=True)
class _Measured:
    rate: float
    """Requests per second."""
    workers: float
    """Cores that the workers used."""
    kafka: float
    """Cores that the broker used."""
    generator: float
    """Cores that the generator used."""
    cpu: Mapping[str, float]
    """CPU microseconds of an event by process."""


def measure(run: Run) -> Iterator[Finding]:
    """Measure the rate of two workers as a multiple of one, and the cores that each part used."""
    requests = gateway.singles(run.events(50_000))
    rounds: list[tuple[_Measured, _Measured]] = []
    with servers.running(kafka=True) as running:
        _drive(running, requests, 2, run.seconds(gateway.WARMUP_SECONDS))
        for _ in range(run.rounds):
            one = _drive(running, requests, 1, run.seconds(5))
            rounds.append((one, _drive(running, requests, 2, run.seconds(5))))
    cores = os.cpu_count() or 1
    speedups = [Round(two.rate / one.rate, 2, two.cpu) for one, two in rounds]
    yield finding("workers", "times", speedups)
    yield finding(
        "workers-busy", "cores", [Round(two.workers, 2 * WORKER_CORES) for _, two in rounds]
    )
    yield finding("workers-generator", "cores", [Round(two.generator, 1) for _, two in rounds])
    yield finding("workers-kafka", "cores", [Round(two.kafka, cores) for _, two in rounds])
    costs = [Round(two.cpu["gateway"], one.cpu["gateway"]) for one, two in rounds]
    yield finding("workers-cost", "µs/event", costs)


def _drive(running: Servers, requests: list[bytes], workers: int, seconds: float) -> _Measured:
    with (
        servers.database(running) as url,
        cpu_limit(WORKER_CORES) as limit,
        gateway.ingest(running, topics.topic(running), url, workers) as ingest,
    ):
        for worker in ingest.process.children() or [ingest.process]:
            limit(worker)
        driven = gateway.drive(running, ingest, requests, CONNECTIONS, seconds)
    return _Measured(
        driven.rate,
        driven.sampled["gateway"] / driven.seconds,
        driven.sampled["kafka"] / driven.seconds,
        driven.own_cpu / driven.seconds,
        driven.microseconds_each(),
    )
