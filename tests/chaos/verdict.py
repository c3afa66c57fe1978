"""The result of one run: what was stored, what is wrong, which faults the system survived."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_NAMED = 20
"""Failures of one kind that are listed."""


@dataclass
class Verdict:
    """What a run found. It is good when `failures` is empty."""

    seed: int = 1
    seconds: float = 0.0
    acknowledged: int = 0
    stored: int = 0
    missing: int = 0
    """Acknowledged and not stored."""
    duplicated: int = 0
    misplaced: int = 0
    """On another profile than the definition says."""
    altered: int = 0
    """Stored with other ids, time, type or data than sent."""
    never_sent: int = 0
    """Stored although no client sent it."""
    measured: int = 0
    """Regular events that were sent right behind hostile ones."""
    delayed: int = 0
    """Those of them that were not resolved in time."""
    set_aside: int = 0
    """Hostile rows, profiles and records that were set aside."""
    profiles: int = 0
    merges: int = 0
    dead_letters: int = 0
    sent_again: int = 0
    refused: int = 0
    rows: int = 0
    unlinks: int = 0
    relinks: int = 0
    forgotten: int = 0
    """People that the operator forgot."""
    interrupted: int = 0
    """Commands of the operator that were killed and run again."""
    erased: int = 0
    """Acknowledged events that are not stored, as they are of forgotten people."""
    kept: int = 0
    """Stored although their person is forgotten."""
    traces: int = 0
    """Rows that have an id, the profile or an event of a forgotten person."""
    kills: int = 0
    """Processes that a fault killed."""
    faults: dict[str, int] = field(default_factory=dict)
    slowest_recovery: tuple[float, str] = (0.0, "none")
    """In seconds, and after what."""
    peak_mib: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        """Return all fields for other programs."""
        return asdict(self) | {"good": self.good}

    def report(self, problem: str, found: Iterable[str]) -> int:
        """Add a failure for each finding, up to a limit, and return how many there are."""
        findings = list(found)
        self.failures += [f"{problem}: {finding}" for finding in findings[:MAX_NAMED]]
        if len(findings) > MAX_NAMED:
            self.failures.append(f"{problem}: {len(findings) - MAX_NAMED:,} more")
        return len(findings)
