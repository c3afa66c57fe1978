"""A figure beside its ceiling, measured in turn in one run: the ratio is what may be quoted."""

import json
import sys
from statistics import median
from typing import NamedTuple

from bench.table import show


class Round(NamedTuple):
    """What was measured in one round."""

    value: float
    ceiling: float

    @property
    def ratio(self) -> float:
        """How near the value came to its ceiling."""
        return self.value / self.ceiling


def report(name: str, unit: str, rounds: list[Round]) -> None:
    """Print a table, or with `--json` one object on a line."""
    ratios = sorted(one.ratio for one in rounds)
    found = {
        "name": name,
        "value": round(median(one.value for one in rounds), 1),
        "unit": unit,
        "ceiling": round(median(one.ceiling for one in rounds), 1),
        "ratio": round(median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
    }
    if "--json" in sys.argv:
        print(json.dumps(found), flush=True)
    else:
        show(
            f"{name}, median of {len(rounds)} rounds",
            (unit, "value", "ceiling", "ratio", "spread"),
            [
                (
                    "",
                    f"{found['value']:,}",
                    f"{found['ceiling']:,}",
                    f"{found['ratio']}",
                    f"{ratios[0]:.3f} - {ratios[-1]:.3f}",
                )
            ],
        )
