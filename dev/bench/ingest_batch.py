"""`ingest-batch`: 100 events a request, compared with a bare producer.

The bare producer sends the same keys, values and headers, idempotent and with acks=all like ingest,
in the largest batches that the broker accepts.
"""

from collections.abc import Iterator

from dev.bench import gateway, servers, topics
from dev.bench.load import drive
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
            warmup = run.seconds(gateway.WARMUP_SECONDS)
            drive(ours.port, requests, connections=CONNECTIONS, seconds=warmup)
            for _ in range(run.rounds):
                driven = drive(ours.port, requests, connections=CONNECTIONS, seconds=run.seconds(5))
                seconds = topics.publish(settings, records)
                found.append(Round(driven.rate * gateway.BATCH, len(records) / seconds))
    yield finding("ingest-batch", "events/s", found)
