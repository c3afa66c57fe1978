"""`ingest-batch`: 100 events a request, compared with a bare producer.

The bare producer sends the same keys, values and headers, idempotent and with acks=all like ingest,
in the largest batches that the broker accepts.
"""

from collections.abc import Iterator

from dev.bench import gateway, servers, topics
from dev.bench.load import Driven
from dev.bench.ratios import Finding, Round, Run, finding

CONNECTIONS = 32


def measure(run: Run) -> Iterator[Finding]:
    """Measure events per second."""
    count = run.events(100_000)
    requests = gateway.batches(count)
    records = topics.records(count)
    found: list[Round] = []
    with servers.running(kafka=True) as running, servers.database(running) as url:
        settings = topics.topic(running)
        with gateway.ingest(running, settings, url) as ours:

            def run_load(seconds: float) -> Driven:
                return gateway.drive(running, ours, requests, CONNECTIONS, run.seconds(seconds))

            run_load(gateway.WARMUP_SECONDS)
            for _ in range(run.rounds):
                driven = run_load(5)
                seconds = topics.publish(settings, records)
                rate, cpu = driven.rate * gateway.BATCH, driven.microseconds_each(gateway.BATCH)
                found.append(Round(rate, len(records) / seconds, cpu))
    yield finding("ingest-batch", "events/s", found)
