"""Everything that is broken on purpose: a fault is a function in one of these files."""

from tests.chaos.faults import broker, hostile, network, postgres, processes, records
from tests.chaos.faults.fault import TABLE, Entry, Harm

__all__ = [
    "TABLE",
    "Entry",
    "Harm",
    "broker",
    "hostile",
    "network",
    "postgres",
    "processes",
    "records",
]
