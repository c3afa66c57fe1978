"""Figures and their ceilings, measured in turn in one run. Only the ratio is comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Run:
    """The size of a run."""

    quick: bool = False
    """A short run that only shows that the benchmarks work; ignore its figures."""

    @property
    def rounds(self) -> int:
        """How often the figure and its ceiling are measured in turn."""
        return 1 if self.quick else 5

    def events(self, count: int) -> int:
        """Return the number of events, or a few batches in a quick run."""
        return min(count, 12_000) if self.quick else count

    def seconds(self, length: float) -> float:
        """Return the seconds of load, or a short time in a quick run."""
        return min(length, 3.0) if self.quick else length


class Round(NamedTuple):
    """The measurements of one round."""

    value: float
    ceiling: float
    cpu: Mapping[str, float] = {}
    """CPU microseconds of an event by process."""

    @property
    def ratio(self) -> float:
        """The value divided by its ceiling."""
        return self.value / self.ceiling


class Finding(NamedTuple):
    """The result of all rounds: medians, the smallest and the largest ratio."""

    name: str
    value: float
    unit: str
    ceiling: float
    ratio: float
    spread: tuple[float, float]
    cpu: Mapping[str, float] = {}
    """CPU microseconds of an event by process."""


def finding(name: str, unit: str, rounds: Sequence[Round]) -> Finding:
    """Summarize the rounds of one figure."""
    ratios = sorted(round_.ratio for round_ in rounds)
    return Finding(
        name,
        _rounded(median(round_.value for round_ in rounds)),
        unit,
        _rounded(median(round_.ceiling for round_ in rounds)),
        round(median(ratios), 3),
        (round(ratios[0], 3), round(ratios[-1], 3)),
        {name: round(median(round_.cpu[name] for round_ in rounds), 1) for name in rounds[0].cpu},
    )


def _rounded(value: float) -> float:
    """Round to three digits, which is more than the precision of a benchmark."""
    digits = next((digits for bound, digits in ((10, 2), (1000, 1)) if value < bound), None)
    return round(value, digits)
