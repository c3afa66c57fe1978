"""Estimate the cluster for a rate of events from the results of `cost`."""

import math
from collections.abc import Mapping

from dev.bench.ratios import Finding

RATES = (1_000, 50_000, 1_000_000)
BUSY = 0.5
"""Average load of a core; the rest is for peaks and for catching up."""

PARTITIONS_EACH = 2
"""Partitions per resolver: the number of resolvers can double without new partitions."""

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
    """Return a row for each rate; none if a measurement is missing."""
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
    # A resolver waits for Postgres: assume that the two never overlap.
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
