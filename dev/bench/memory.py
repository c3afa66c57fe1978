"""`memory`: the peak of each process while ingest accepts events and the resolver drains some."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg

from dev.bench import gateway, servers, topics
from dev.bench.drains import wait_until_committed
from dev.bench.load import drive
from dev.bench.processes import peak_mebibytes, process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.stack import Servers
from merganser.runtime.settings import Settings

EVENTS = 100_000
ALLOWED = 250
OTHERS = ("scanner", "properties", "decoration", "api")


def measure(run: Run) -> Iterator[Finding]:
    """Measure mebibytes: first of the largest process, then of each."""
    records = topics.records(run.events(EVENTS))
    requests = gateway.batches(run.events(EVENTS))
    peaks: list[dict[str, float]] = []
    with servers.running(kafka=True) as running:
        for _ in range(run.rounds):
            settings = topics.topic(running)
            topics.publish(settings, records)
            peaks.append(_peaks(running, settings, requests, len(records), run))
    rounds = [Round(max(round_peaks.values()), ALLOWED) for round_peaks in peaks]
    yield finding("memory", "MiB", rounds)
    for name in peaks[0]:
        yield finding(
            f"memory-{name}", "MiB", [Round(round_peaks[name], ALLOWED) for round_peaks in peaks]
        )


def _peaks(
    running: Servers, settings: Settings, requests: list[bytes], backlog: int, run: Run
) -> dict[str, float]:
    with (
        servers.database(running) as url,
        psycopg.connect(url, autocommit=True) as database,
        ExitStack() as stack,
    ):
        ingest = stack.enter_context(gateway.ingest(running, settings, url))
        others = {
            name: stack.enter_context(process(name, running, settings, url)) for name in OTHERS
        }
        resolver = stack.enter_context(process("resolver", running, settings, url, ready=False))
        driven = drive(ingest.port, requests, connections=32, seconds=run.seconds(5))
        wait_until_committed(database, settings, backlog + driven.total * gateway.BATCH)
        measured = {"ingest": ingest.process, "resolver": resolver, **others}
        return {
            name: peak_mebibytes(measured_process) for name, measured_process in measured.items()
        }
