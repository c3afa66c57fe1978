"""`resolver`: drain a backlog into the tables, compared with a bare COPY of the same rows."""

from collections.abc import Iterator

from dev.bench import bare_copy, servers, topics
from dev.bench.drains import drain
from dev.bench.ratios import Finding, Round, Run, finding

EVENTS = 500_000


def measure(run: Run) -> Iterator[Finding]:
    """Alternate the drain of one backlog and the COPY of its rows, each into an empty database."""
    events = run.events(EVENTS)
    with servers.running(kafka=True) as running:
        settings = topics.backlog(running, events)
        found: list[Round] = []
        for _ in range(run.rounds):
            with servers.database(running) as url:
                drained = drain(running, settings, url, events)
                rows = bare_copy.rows(url)
            with servers.database(running) as url:
                found.append(Round(drained.rate, bare_copy.copy(url, rows), drained.cpu))
    yield finding("resolver", "events/s", found)
