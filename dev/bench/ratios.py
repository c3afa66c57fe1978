"""A figure beside its ceiling, measured in turn in one run: the ratio is what may be quoted."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Run:
    """How much is measured."""

    quick: bool = False
    """A smoke run: everything happens, once and small; its figures mean nothing."""

    @property
    def rounds(self) -> int:
        """Times that the figure and its ceiling are measured in turn."""
        return 1 if self.quick else 5

    def events(self, count: int) -> int:
        """So many events, or a few batches of them."""
        return min(count, 12_000) if self.quick else count

    def seconds(self, length: float) -> float:
        """So long under load, or a moment."""
        return min(length, 3.0) if self.quick else length


class Round(NamedTuple):
    """What was measured in one round."""

    value: float
    ceiling: float

    @property
    def ratio(self) -> float:
        """How near the value came to its ceiling."""
        return self.value / self.ceiling


class Finding(NamedTuple):
    """What all rounds say: medians, and the smallest and the largest ratio."""

    name: str
    value: float
    unit: str
    ceiling: float
    ratio: float
    spread: tuple[float, float]


def finding(name: str, unit: str, rounds: Sequence[Round]) -> Finding:
    """Sum up the rounds of one figure."""
    ratios = sorted(one.ratio for one in rounds)
    return Finding(
        name,
        _rounded(median(one.value for one in rounds)),
        unit,
        _rounded(median(one.ceiling for one in rounds)),
        round(median(ratios), 3),
        (round(ratios[0], 3), round(ratios[-1], 3)),
    )


def _rounded(value: float) -> float:
    """Three digits are more than a benchmark knows."""
    return round(value, 1) if value < 1000 else round(value)  # noqa: PLR2004 - where a digit stops to matter
