"""The targets of all figures."""

from typing import NamedTuple

from dev.bench.ratios import Finding


class Target(NamedTuple):
    """The target of one figure: bounds of its ratio, or of its value."""

    least: float
    aim: float
    at_most: bool = False
    """Whether lower is better."""
    of_value: bool = False
    """Whether the bounds are in the figure's unit, and not ratios to its ceiling."""

    def verdict(self, found: Finding) -> str:
        """Return "aim", "met" or "missed": the figure reaches `aim`, only `least`, or neither."""
        figure = found.value if self.of_value else found.ratio
        if self._met(figure, self.aim):
            return "aim"
        return "met" if self._met(figure, self.least) else "missed"

    def bounds(self, found: Finding) -> tuple[str, str]:
        """Return `least` and `aim` as text, with the unit if they are values."""
        sign = "≤ " if self.at_most else ""
        unit = f" {found.unit}" if self.of_value else ""
        return f"{sign}{self.least:g}{unit}", f"{sign}{self.aim:g}{unit}"

    def _met(self, figure: float, bound: float) -> bool:
        return figure <= bound if self.at_most else figure >= bound


def _at_most(least: float, aim: float) -> Target:
    """Return the target of a value of which less is better."""
    return Target(least, aim, at_most=True, of_value=True)


TARGETS = {
    "ingest-single-32": Target(0.3, 0.5),
    "ingest-single-256": Target(0.4, 0.5),
    "ingest-batch": Target(0.35, 0.5),
    "resolver": Target(0.75, 0.85),
    "scanner": Target(0.5, 0.8),
    "merge-heavy": Target(0.4, 0.7),
    "end-to-end": Target(0.5, 0.8),
    "latency-p50": Target(2.5, 2, at_most=True),
    "latency-p99": Target(2.5, 2, at_most=True),
    "growth": Target(0.9, 0.97),
    "memory": _at_most(140, 100),
    "scale-out": Target(0.75, 0.95),
    "properties": Target(0.9, 0.97),
    "workers": Target(1.7, 1.9, of_value=True),
    "cost-ingest-single": _at_most(150, 120),
    "cost-ingest-single-256": _at_most(150, 120),
    "cost-ingest-batch": _at_most(10, 6),
    "cost-resolver": _at_most(14, 10),
    "cost-resolver-postgres": _at_most(36, 30),
}
"""By the name of the figure; for `scale-out`, 0.75 and 0.95 of a factor of 2."""
