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
from dev.bench.drains import Drained, wait_until_committed
from dev.bench.processes import child, cpu_by_name, cpu_each, process
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
            one = _drain(running, records, 1)
            two = _drain(running, records, 2)
            speedups.append(Round(two.rate / one.rate, 2, two.cpu))
            cores = two.cpu["postgres"] / 1e6 * two.rate
            busy.append(Round(cores, os.cpu_count() or 1))
    yield finding("scale-out", "times", speedups)
    yield finding("scale-out-postgres", "cores", busy)


def _drain(running: Servers, records: list[Record], resolvers: int) -> Drained:
    """Drain a topic; the resolvers have their partitions before the first event arrives."""
    settings = topics.topic(running)
    with servers.database(running) as url, ExitStack() as stack:
        port = free_port()
        target = str(conninfo_to_dict(url)["port"])
        far = [sys.executable, "-m", "dev.bench.latency_proxy", str(port), target, str(ROUND_TRIP)]
        stack.enter_context(child(far))
        database = stack.enter_context(psycopg.connect(url, autocommit=True))
        processes = {"postgres": servers.postgres(running)}
        for number in range(resolvers):
            processes[f"resolver {number + 1}"] = stack.enter_context(
                process(
                    "resolver",
                    running,
                    settings,
                    make_conninfo(url, port=port),
                    resolver_batch=str(BATCH),
                )
            )
        topics.publish(settings, records)
        first, start = wait_until_committed(database, settings, 1)
        used = cpu_by_name(processes)
        last, end = wait_until_committed(database, settings, len(records))
        cpu = cpu_each(used, cpu_by_name(processes), last - first)
    return Drained(last - first, end - start, cpu)
