"""`growth`: the resolver's rate with 20,000,000 events in the tables, compared with 100,000.

In each round both databases get the same backlog. Both have its people, with four events each, so
only the sizes of tables and indexes differ. The large tables need 40 GB of free disk.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg

from dev.bench import realistic_events, servers, topics
from dev.bench.drains import drain
from dev.bench.ratios import Finding, Round, Run, finding
from merganser.runtime import sql

MANY = 20_000_000
FEW = 100_000
BACKLOG = 60_000
EVENTS_EACH = 4

_SQL = sql.load(__package__, "growth.sql")


def measure(run: Run) -> Iterator[Finding]:
    """Measure events per second, and the CPU of Postgres for an event."""
    many = 2 * FEW if run.quick else MANY
    backlog = run.events(BACKLOG)
    rates: list[Round] = []
    costs: list[Round] = []
    with (
        servers.running(kafka=True) as running,
        servers.database(running) as large,
        servers.database(running) as small,
    ):
        with servers.bulk_loading(running):
            grow(large, many)
            grow(small, FEW)
        for number in range(run.rounds):
            events = realistic_events.events(backlog, seed=number, people=FEW // EVENTS_EACH)
            settings = topics.backlog(running, events)
            grown = drain(running, settings, large, backlog)
            young = drain(running, settings, small, backlog)
            rates.append(Round(grown.rate, young.rate, grown.cpu))
            costs.append(Round(grown.cpu["postgres"], young.cpu["postgres"]))
    yield finding("growth", "events/s", rates)
    yield finding("growth-postgres", "µs/event", costs)


def grow(url: str, events: int) -> None:
    """Fill the tables of an empty database: `events` and "eventData" at the same time."""
    sizes = {"events": events, "people": events // EVENTS_EACH}

    def fill(*names: str) -> None:
        with psycopg.connect(url, autocommit=True) as database:
            filling = psycopg.ClientCursor(database)
            for name in names:
                filling.execute(_SQL[name], sizes)

    with psycopg.connect(url, autocommit=True) as database, ThreadPoolExecutor() as pool:
        database.execute("SET maintenance_work_mem = '1GB'")
        database.execute(_SQL["without_indexes"])
        data = pool.submit(fill, "data")
        fill("profiles", "visitors", "events")
        data.result()
        database.execute(_SQL["with_indexes"])
        database.execute(_SQL["analyze"])
