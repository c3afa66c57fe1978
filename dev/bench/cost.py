"""`cost`: what an event costs, for the arithmetic of docs/performance.md.

CPU time is that of the processes, so it is nearly the same on a busy machine. Each figure is
compared with a minimum: the same server with a constant response, a bare producer, a bare COPY of
the rows, or the bytes of a record. A stage is compared with its whole process.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psutil
import psycopg

from dev.bench import bare_copy, gateway, servers, stages, topics
from dev.bench.drains import drain
from dev.bench.processes import cpu_seconds
from dev.bench.ratios import Finding, Round, Run, finding
from dev.bench.topics import Record
from dev.stack import Servers
from merganser.runtime.settings import Settings

EVENTS = 100_000
SINGLES = 50_000

_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"
_DISK = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""

Costs = dict[str, tuple[float, float]]
"""Name -> the cost of one event, and the cost that it is compared with."""


class _WriteCost(NamedTuple):
    """The cost of writing the rows of an event: CPU microseconds and bytes."""

    client: float
    postgres: float
    wal: float
    disk: float


def measure(run: Run) -> Iterator[Finding]:
    """Measure the CPU microseconds and bytes of one event."""
    count = run.events(EVENTS)
    singles, batches = gateway.singles(run.events(SINGLES)), gateway.batches(count)
    records = topics.records(count)
    with (
        servers.running(kafka=True) as running,
        servers.database(running) as url,
        gateway.constant() as constant,
        gateway.ingest(running, topics.topic(running), url) as ingest,
    ):
        backlog = topics.topic(running)
        topics.publish(backlog, records)
        rounds = [
            _singles(running, ingest, constant, singles, run)
            | _batches(running, ingest, batches, records, run)
            | _tables(running, backlog, records)
            for _ in range(run.rounds)
        ]
    for name in rounds[0]:
        unit = "bytes/event" if name in {"wal", "disk"} else "µs/event"
        yield finding(f"cost-{name}", unit, [Round(*costs[name]) for costs in rounds])
    yield from _stages(count, rounds)


def _singles(
    running: Servers,
    ingest: gateway.Gateway,
    constant: gateway.Gateway,
    requests: list[bytes],
    run: Run,
) -> Costs:
    costs: Costs = {}
    for suffix, connections in (("", 32), ("-256", 256)):
        bare = _serve(running, constant, requests, connections, run)
        ours = _serve(running, ingest, requests, connections, run)
        costs[f"ingest-single{suffix}"] = (ours["gateway"], bare["gateway"])
        costs[f"ingest-single{suffix}-kafka"] = (ours["kafka"], ours["gateway"])
    return costs


def _batches(
    running: Servers,
    ingest: gateway.Gateway,
    requests: list[bytes],
    records: list[Record],
    run: Run,
) -> Costs:
    ours = _serve(running, ingest, requests, 32, run, gateway.BATCH)
    settings = topics.topic(running)
    broker = servers.broker(running)
    start, kafka_start = time.process_time(), cpu_seconds(broker)
    topics.publish(settings, records)
    bare = (time.process_time() - start) * 1e6 / len(records)
    bare_kafka = (cpu_seconds(broker) - kafka_start) * 1e6 / len(records)
    return {
        "ingest-batch": (ours["gateway"], bare),
        "ingest-batch-kafka": (ours["kafka"], bare_kafka),
    }


def _serve(
    running: Servers,
    server: gateway.Gateway,
    requests: list[bytes],
    connections: int,
    run: Run,
    events: int = 1,
) -> dict[str, float]:
    """Return the CPU microseconds of an event, by the events of a request."""
    driven = gateway.drive(running, server, requests, connections, run.seconds(4))
    return driven.microseconds_each(events)


def _tables(running: Servers, backlog: Settings, records: list[Record]) -> Costs:
    count = len(records)
    with servers.database(running) as url:
        ours = _measure_writes(
            running, url, lambda mark: _drain(running, backlog, url, count, mark)
        )
        rows = bare_copy.rows(url)
    with servers.database(running) as url:
        bare = _measure_writes(running, url, lambda mark: _copy(url, rows, mark))
    record_bytes = sum(len(record.key) + len(record.value) for record in records) / count
    return {
        "resolver": (ours.client, bare.client),
        "resolver-postgres": (ours.postgres, bare.postgres),
        "wal": (ours.wal, bare.wal),
        "disk": (ours.disk, record_bytes),
    }


Mark = Callable[[float], None]
"""A function that the work calls at its start and end, with the CPU seconds of the client."""


def _measure_writes(running: Servers, url: str, work: Callable[[Mark], float]) -> _WriteCost:
    """Measure the cost per event of `work`, which returns the events between its marks."""
    postgres = servers.postgres(running)
    marks: list[tuple[float, float, float]] = []
    with psycopg.connect(url, autocommit=True) as database:

        def mark(client: float) -> None:
            (wal,) = database.execute(_WAL).fetchone() or (0,)
            marks.append((client, cpu_seconds(postgres), float(wal)))

        events = work(mark)
        (disk,) = database.execute(_DISK).fetchone() or (0,)
        (rows,) = database.execute("SELECT count(*) FROM events").fetchone() or (0,)
    client, server, wal = (end - start for start, end in zip(*marks, strict=True))
    return _WriteCost(
        client * 1e6 / events, server * 1e6 / events, wal / events, float(disk) / rows
    )


def _drain(running: Servers, settings: Settings, url: str, count: int, mark: Mark) -> float:
    def watch(resolver: psutil.Process) -> None:
        mark(cpu_seconds(resolver))

    return drain(running, settings, url, count, watch=watch).events


def _copy(url: str, rows: bare_copy.Rows, mark: Mark) -> float:
    mark(time.process_time())
    bare_copy.copy(url, rows)
    mark(time.process_time())
    return sum(chunk.count(b"\n") for chunk in rows[0])


def _stages(count: int, rounds: list[Costs]) -> Iterator[Finding]:
    found: dict[str, list[Round]] = {}
    for costs in rounds:
        for name, microseconds in stages.microseconds(min(count, 20_000)).items():
            whole = costs["resolver" if name.startswith("resolver") else "ingest-batch"][0]
            found.setdefault(name, []).append(Round(microseconds, whole))
    for name, stage_rounds in found.items():
        yield finding(f"cost-stage-{name}", "µs/event", stage_rounds)
