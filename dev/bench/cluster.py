"""What a rate of events asks of a cluster: arithmetic from what `cost` measured."""

import math
from collections.abc import Mapping

from dev.bench.ratios import Finding

RATES = (1_000, 50_000, 1_000_000)
BUSY = 0.5
"""Share of a core that is used on average: what is left is for peaks and for catching up."""

PARTITIONS_EACH = 2
"""For a resolver, so that their number may double before partitions are added."""

FEWEST_PARTITIONS = 12
REPLICAS = 3

COLUMNS = (
    "events/s",
    "ingest processes, one event a request",
    "… 100 a request",
    "partitions",
    "Kafka, MB/s written",
    "resolvers",
    "Postgres cores",
    "Postgres WAL, MB/s",
    "tables, TB a day",
)


def rows(found: Mapping[str, Finding]) -> list[list[str]]:
    """A row for each rate; none while something was not measured."""
    names = ("ingest-single", "ingest-batch", "resolver", "resolver-postgres", "wal", "disk")
    if any(f"cost-{name}" not in found for name in names):
        return []
    single, batch, resolver, postgres, wal, disk = (found[f"cost-{name}"].value for name in names)
    record = found["cost-disk"].ceiling
    return [_row(rate, single, batch, resolver, postgres, wal, disk, record) for rate in RATES]


def _row(
    rate: int,
    single: float,
    batch: float,
    resolver: float,
    postgres: float,
    wal: float,
    disk: float,
    record: float,
) -> list[str]:
    # A resolver waits for Postgres: taken as if the two never overlapped.
    resolvers = _cores(rate, resolver + postgres)
    return [
        f"{rate:,}",
        f"{_cores(rate, single):,}",
        f"{_cores(rate, batch):,}",
        f"{max(FEWEST_PARTITIONS, PARTITIONS_EACH * resolvers):,}",
        f"{rate * record * REPLICAS / 1e6:,.1f}",
        f"{resolvers:,}",
        f"{_cores(rate, postgres):,}",
        f"{rate * wal / 1e6:,.1f}",
        f"{rate * disk * 86_400 / 1e12:,.2f}",
    ]


def _cores(rate: int, microseconds: float) -> int:
    return math.ceil(rate * microseconds / 1e6 / BUSY)
