"""The list of faults: each is a function in one of these files."""

from tests.chaos.faults import broker, hostile, network, postgres, processes, records
from tests.chaos.faults.fault import FAULTS, Fault, Injected

__all__ = [
    "FAULTS",
    "Fault",
    "Injected",
    "broker",
    "hostile",
    "network",
    "postgres",
    "processes",
    "records",
]
