"""The targets of all figures."""

from typing import NamedTuple

from dev.bench.ratios import Finding


class Target(NamedTuple):
    """The target of one figure, as ratios to its ceiling."""

    least: float
    aim: float
    at_most: bool = False
    """Whether lower is better."""

    def verdict(self, found: Finding) -> str:
        """Return "aim", "met" or "missed": the ratio reaches `aim`, only `least`, or neither."""
        if self._met(found.ratio, self.aim):
            return "aim"
        return "met" if self._met(found.ratio, self.least) else "missed"

    def _met(self, ratio: float, bound: float) -> bool:
        return ratio <= bound if self.at_most else ratio >= bound


TARGETS = {
    "ingest-single-32": Target(0.25, 0.5),
    "ingest-single-256": Target(0.25, 0.5),
    "ingest-batch": Target(0.5, 0.8),
    "resolver": Target(0.5, 0.8),
    "scanner": Target(0.5, 0.8),
    "merge-heavy": Target(0.4, 0.7),
    "end-to-end": Target(0.5, 0.8),
    "latency-p50": Target(4, 2, at_most=True),
    "latency-p99": Target(4, 2, at_most=True),
    "growth": Target(0.8, 0.95),
    "memory": Target(1, 0.5, at_most=True),
    "scale-out": Target(0.75, 0.95),
}
"""Ratios; for `scale-out`, 0.75 and 0.95 of a factor of 2."""
