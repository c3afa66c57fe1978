"""`merge-heavy`: drain a backlog with 30 % merges, compared with one with 2 %."""

from collections.abc import Iterator

from dev.bench import realistic_events, servers, topics
from dev.bench.drains import drain
from dev.bench.ratios import Finding, Round, Run, finding

EVENTS = 150_000
HEAVY = 0.3


def measure(run: Run) -> Iterator[Finding]:
    """Measure events per second; each drain has an empty database."""
    events = run.events(EVENTS)
    with servers.running(kafka=True) as running:
        heavy = topics.backlog(running, realistic_events.events(events, merges=HEAVY))
        light = topics.backlog(running, realistic_events.events(events))
        found: list[Round] = []
        for _ in range(run.rounds):
            with servers.database(running) as url:
                merged = drain(running, heavy, url, events)
            with servers.database(running) as url:
                ceiling = drain(running, light, url, events).rate
                found.append(Round(merged.rate, ceiling, merged.cpu))
    yield finding("merge-heavy", "events/s", found)
