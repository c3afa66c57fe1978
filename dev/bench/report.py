"""The table and the plots of docs/performance.md, from the output of `--json` or `--save`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dev.bench import cluster
from dev.bench.ratios import Finding
from dev.bench.targets import TARGETS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"
BEGIN, END = "<!-- figures: python -m dev.bench report RESULTS -->", "<!-- end of figures -->"

COLUMNS = (
    "what",
    "value",
    "ceiling",
    "unit",
    "ratio",
    "spread",
    "at least",
    "aim",
    "",
    "CPU of an event, µs",
)

_GOOD, _FAIR, _POOR, _PLAIN = "#2a9d6f", "#e0a030", "#c8503c", "#5b7fb5"
_COLORS = {"aim": _GOOD, "met": _FAIR, "missed": _POOR}


def row(found: Finding) -> list[str]:
    """Return a finding as cells of `COLUMNS`."""
    target = TARGETS.get(found.name)
    return [
        found.name,
        f"{found.value:,}",
        f"{found.ceiling:,}",
        found.unit,
        f"{found.ratio:.2f}",
        f"{found.spread[0]:.2f} to {found.spread[1]:.2f}",
        *(target.bounds(found) if target else ("", "")),
        target.verdict(found) if target else "",
        ", ".join(f"{name} {microseconds:g}" for name, microseconds in found.cpu.items()),
    ]


def write_line(found: Finding, file: Path | None, *, show: bool) -> None:
    """Append a finding to a file of results, if there is one, and print it if `show`, as JSON."""
    line = json.dumps(found._asdict())
    if show:
        print(line, flush=True)
    if file:
        with file.open("a") as results:
            results.write(f"{line}\n")


def write(results: Path) -> None:
    """Write the figures between the marks of the page, and draw the plots beside it.

    The last measurement of each name counts.
    """
    lines = map(json.loads, results.read_text().splitlines())
    found = {line["name"]: Finding(**line) for line in lines}
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    costs = [finding for finding in found.values() if finding.name.startswith("cost-")]
    others = [finding for finding in found.values() if not finding.name.startswith("cost-")]
    parts = [
        BEGIN,
        "![Ratios with their spread](performance-ratios.svg)",
        _markdown(COLUMNS, map(row, others)),
        "## What an event costs",
        "![CPU of an event by process and stage](performance-costs.svg)",
        _markdown(COLUMNS[:-1], (row(finding)[:-1] for finding in costs)),
        f"## What a cluster needs\n\nEach core busy to {cluster.BUSY:.0%}, by these costs:",
        _markdown(cluster.COLUMNS, cluster.rows(found)),
        END,
    ]
    PAGE.write_text(head + "\n\n".join(parts) + tail)
    _draw_ratios([finding for finding in others if finding.name in TARGETS])
    _draw_costs([finding for finding in found.values() if finding.unit == "µs/event"])


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _draw_ratios(found: Sequence[Finding]) -> None:
    """Draw each ratio with its spread, `at least` as a line and `aim` as a dotted line."""
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(found) + 1))
    for position, finding in enumerate(found):
        target = TARGETS[finding.name]
        low, high = finding.spread
        axes.barh(
            position,
            finding.ratio,
            xerr=[[finding.ratio - low], [high - finding.ratio]],
            color=_COLORS[target.verdict(finding)],
            error_kw={"linewidth": 1},
        )
        scale = finding.ratio / finding.value if target.of_value else 1
        for bound, style in ((target.least, "-"), (target.aim, ":")):
            axes.vlines(
                bound * scale,
                position - 0.45,
                position + 0.45,
                color="black",
                linewidth=1.5,
                linestyle=style,
            )
    axes.set_yticks(range(len(found)), [_label(finding) for finding in found])
    axes.invert_yaxis()
    axes.set_xlabel("ratio to the ceiling; | at least, ⋮ aim")
    _save(figure, "performance-ratios.svg")


def _label(found: Finding) -> str:
    return f"{found.name} (less is better)" if TARGETS[found.name].at_most else found.name


def _draw_costs(found: Sequence[Finding]) -> None:
    """Draw the CPU time of an event by process and stage."""
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(found) + 1))
    axes.barh(range(len(found)), [finding.value for finding in found], color=_PLAIN)
    axes.set_yticks(range(len(found)), [finding.name.removeprefix("cost-") for finding in found])
    for position, finding in enumerate(found):
        axes.text(finding.value, position, f" {finding.value:g}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("CPU microseconds of an event")
    _save(figure, "performance-costs.svg")


def _save(figure: Figure, name: str) -> None:
    """Save a plot; equal figures give equal bytes."""
    mpl.rcParams["svg.hashsalt"] = "merganser"
    figure.tight_layout()
    figure.savefig(DOCS / name, metadata={"Date": None})
    plt.close(figure)
