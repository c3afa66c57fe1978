"""`scale-out`: two resolvers compared with one, while Postgres has capacity to spare.

On one machine with two cores, one resolver and Postgres use both. So a proxy adds `ROUND_TRIP`
milliseconds of latency to Postgres, as in another zone, and transactions are small: a resolver
mostly waits, as it does if Postgres has its own machine. `scale-out-postgres` shows that Postgres
is not the limit: the cores that it used with two resolvers, compared with those of the machine.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dev.bench import servers, topics
from dev.bench.drains import wait_until_committed
from dev.bench.processes import child, cpu_seconds, process
from dev.bench.ratios import Finding, Round, Run, finding
from dev.bench.topics import Record
from dev.stack import Servers
from dev.stack.ports import free_port

EVENTS = 60_000
BATCH = 500
ROUND_TRIP = 20


def measure(run: Run) -> Iterator[Finding]:
    """Measure the rate of two resolvers as a multiple of one, and the cores that Postgres used."""
    speedups: list[Round] = []
    busy: list[Round] = []
    records = topics.records(run.events(EVENTS))
    with servers.running(kafka=True) as running:
        for _ in range(run.rounds):
            one, _ = _drain(running, records, 1)
            two, cores = _drain(running, records, 2)
            speedups.append(Round(two / one, 2))
            busy.append(Round(cores, os.cpu_count() or 1))
    yield finding("scale-out", "times", speedups)
    yield finding("scale-out-postgres", "cores", busy)


def _drain(running: Servers, records: list[Record], resolvers: int) -> tuple[float, float]:
    """Return the events per second, and the cores that Postgres used.

    The resolvers have their partitions before the first event arrives.
    """
    postgres = servers.postgres(running)
    settings = topics.topic(running)
    with servers.database(running) as url, ExitStack() as stack:
        port = free_port()
        target = str(conninfo_to_dict(url)["port"])
        far = [sys.executable, "-m", "dev.bench.latency_proxy", str(port), target, str(ROUND_TRIP)]
        stack.enter_context(child(far))
        database = stack.enter_context(psycopg.connect(url, autocommit=True))
        for _ in range(resolvers):
            stack.enter_context(
                process(
                    "resolver",
                    running,
                    settings,
                    make_conninfo(url, port=port),
                    resolver_batch=str(BATCH),
                )
            )
        topics.publish(settings, records)
        used = cpu_seconds(postgres)
        first, start = wait_until_committed(database, settings, 1)
        last, end = wait_until_committed(database, settings, len(records))
        used = cpu_seconds(postgres) - used
    return (last - first) / (end - start), used / (end - start)
