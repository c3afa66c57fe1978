"""Draw the main dashboard from a real run: `python -m deploy.grafana.picture FILE.svg`.

Prometheus scrapes the stack of `merganser up` during synthetic traffic, and matplotlib draws the
panels from the results of their queries. The picture in the docs replaces a screenshot of Grafana,
which Debian does not package.
"""

import asyncio
import math
import re
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import typer
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from deploy.grafana.pipeline import PIPELINE
from deploy.grafana.traffic import send
from deploy.prometheus import local
from deploy.prometheus.local import Prometheus
from dev.stack import StackInfo
from dev.stack.home import Home, default_home
from dev.stack.ports import free_port
from dev.stack.state import read

STEP = 5.0
"""Seconds between points."""

SUFFIX = {"s": " s", "percentunit": "", "short": "", "bytes": " B"}
"""Text after a number, by unit; other units are rates per second."""


def main(
    file: Path,
    minutes: Annotated[float, typer.Option(help="How long to send traffic.")] = 8,
    rate: Annotated[float, typer.Option(help="Events a second, on average.")] = 100,
) -> None:
    """Send traffic to the running stack for some minutes and draw the dashboard."""
    state = read(Home(default_home()))
    if state is None or state.info is None:
        typer.echo("the stack is not running: start it with `make up`", err=True)
        raise typer.Exit(1)
    targets = {
        f"merganser-{process}": re.sub(r"https?://|/metrics", "", url)
        for process, url in state.info.metrics.items()
    }
    with (
        tempfile.TemporaryDirectory() as place,
        local.running(targets, free_port(), Path(place), "5s") as prometheus,
    ):
        asyncio.run(_send_traffic(state.info, minutes * 60, rate))
        _draw(prometheus, minutes * 60, file)


async def _send_traffic(info: StackInfo, seconds: float, rate: float) -> None:
    def wave(since: float) -> float:
        return rate * (1 + 0.6 * math.sin(since / 45))

    api_url = f"{info.api_url}/api/v1"
    try:
        async with asyncio.timeout(seconds):
            await send(info.ingest_url, api_url, info.api_key, info.database_url, wave)
    except TimeoutError:
        pass  # the time is over


def _draw(prometheus: Prometheus, seconds: float, file: Path) -> None:
    mpl.rcParams.update({"font.size": 7, "svg.hashsalt": "merganser", "axes.titlesize": 8})
    panels: list[Any] = PIPELINE["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(12, rows * 0.34), layout="constrained")
    grid = figure.add_gridspec(rows, 24)
    for panel in panels:
        at = panel["gridPos"]
        axes = figure.add_subplot(grid[at["y"] : at["y"] + at["h"], at["x"] : at["x"] + at["w"]])
        axes.set_title(panel["title"], loc="left")
        (_number if panel["type"] == "stat" else _chart)(axes, panel, prometheus, seconds)
    figure.savefig(file, metadata={"Date": None})


def _number(axes: Axes, panel: Any, prometheus: Prometheus, _: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    (series,) = prometheus.query(_expr(panel["targets"][0]))
    text = _text(float(series["value"][1]), unit)
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=15)
    axes.set_axis_off()


def _chart(axes: Axes, panel: Any, prometheus: Prometheus, seconds: float) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for target in panel["targets"]:
        for series in prometheus.range(_expr(target), seconds, STEP):
            times = [(at - time.time() + seconds) / 60 for at, _ in series["values"]]
            legend = _legend(target["legendFormat"], series["metric"])
            lines[legend] = times, [float(value) for _, value in series["values"]]
    if "stacking" in defaults["custom"] and len({len(times) for times, _ in lines.values()}) == 1:
        times = next(iter(lines.values()))[0]
        axes.stackplot(times, *(values for _, values in lines.values()), labels=list(lines))
    else:
        for legend, (times, values) in lines.items():
            axes.plot(times, values, label=legend, linewidth=1)
    axes.set_xlim(0, seconds / 60)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _text(y, defaults["unit"])))
    axes.set_xlabel("minutes", fontsize=6)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=3, frameon=False, fontsize=6)


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def _expr(target: Any) -> str:
    expr: str = target["expr"]
    return expr.replace("$__rate_interval", "30s")


def _text(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.2%}"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.4g} ms"
    return f"{value:,.4g}{SUFFIX.get(unit, '/s')}"


if __name__ == "__main__":
    typer.run(main)
