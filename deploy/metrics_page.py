"""`python -m deploy.metrics_page` writes docs/metrics.md from code, dashboards and alerts."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from deploy.grafana.processes import all_dashboards
from merganser.runtime import metrics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "metrics.md"
RULES = ROOT / "deploy" / "prometheus" / "rules"

REGISTRIES = {
    "ingest": metrics.INGEST,
    "resolver": metrics.RESOLVER,
    "scanner": metrics.SCANNER,
    "properties": metrics.PROPERTIES,
    "decoration": metrics.DECORATION,
    "api": metrics.API,
    "console": metrics.CONSOLE,
}

_INTRODUCTION = """\
# Metrics

This page lists every metric, the dashboards in `deploy/grafana/dashboards/` that show it, and the
alerts in `deploy/prometheus/rules/` that use it. [runbook.md](runbook.md) says what to do about an
alert.

Each process serves its metrics at `/metrics` on its own port: ingest 9101, resolver 9102, scanner
9103, properties 9104, api 9105, decoration 9106, console 9107; in the image 9100 for all
([configuration.md](configuration.md)). A histogram has the series `_bucket`, `_sum` and `_count`.

With `--workers` and in `merganser serve`, one page has the metrics of all processes. Each sample
has the label `worker` there, such as `ingest-2`. Prometheus can then add up what has a sum, knows
the counters of a restarted worker, and keeps apart what has no sum, such as ages. The
multiprocess mode of prometheus_client supports neither gauges with functions nor `process_*`.
`merganser_check_failing{check="alive"}` is 1 for a worker that does not answer within a second, or
has ended and is not ready again.
`/metrics?process=ingest` has the workers of one kind, so that each kind can be a separate job.

<!-- Written by `make metrics-page`: change merganser/runtime/metrics.py instead. -->
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as Prometheus stores it.

    Attributes:
        name: with `_total`, for a counter.
        kind: counter, gauge or histogram.
        labels: names.
        meaning: its help text.
        processes: the processes that export it, in the order of `REGISTRIES`.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    processes: tuple[str, ...]


def read_metrics() -> list[Metric]:
    """Return every metric of every process, by name."""
    labels = _labels()
    found: dict[str, Metric] = {}
    for process, registry in REGISTRIES.items():
        for name, kind, meaning in _exported(registry):
            before = found[name].processes if name in found else ()
            found[name] = Metric(name, kind, labels.get(name, ()), meaning, (*before, process))
    return [found[name] for name in sorted(found)]


def _exported(registry: CollectorRegistry) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and help text of a registry's metrics."""
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield name, family.type, family.documentation


def _labels() -> dict[str, tuple[str, ...]]:
    """Return the labels of each metric that has some, from the calls that define the metrics.

    prometheus_client does not return the labels of a metric that has no sample yet.
    """
    found = {}
    for node in ast.walk(ast.parse(Path(metrics.__file__).read_text())):
        match node:
            case ast.Call(
                func=ast.Name(id=kind),
                args=[ast.Constant(value=str(name)), _, ast.List(elts=labels)],
            ):
                names = tuple(str(ast.literal_eval(label)) for label in labels)
                found[f"{name}_total" if kind == "Counter" else name] = names
    return found


def read_alerts() -> dict[str, str]:
    """Return the expression of each alert, with those of the recorded series that it uses."""
    rules, recorded = _read_rules(), _read_recorded()
    alerts: dict[str, str] = {}
    for rule in rules:
        if name := rule.get("alert"):
            alerts[name] = f"{alerts.get(name, '')} {_expand(rule['expr'], recorded)}"
    return alerts


def read_dashboards() -> dict[str, str]:
    """Return the queries of each dashboard, with the expressions of recorded series."""
    recorded = _read_recorded()
    return {
        name: " ".join(
            _expand(target["expr"], recorded)
            for panel in model["panels"]
            for target in panel["targets"]
        )
        for name, model in all_dashboards().items()
    }


def _read_rules() -> list[dict[str, Any]]:
    return [
        rule
        for file in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def _read_recorded() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for rule in _read_rules() if "record" in rule}


def _expand(expression: str, recorded: dict[str, str]) -> str:
    used = [name for name in recorded if re.search(rf"{re.escape(name)}\b", expression)]
    return " ".join([expression, *(_expand(recorded[name], recorded) for name in used)])


def _using(metric: Metric, texts: dict[str, str]) -> list[str]:
    series = rf"\b{metric.name}(_bucket|_count|_sum)?\b"
    return [name for name, text in texts.items() if re.search(series, text)]


def page() -> str:
    """Return the text of docs/metrics.md."""
    found, alerts, dashboards = read_metrics(), read_alerts(), read_dashboards()
    sections: dict[tuple[str, ...], list[Metric]] = {}
    for metric in found:
        sections.setdefault(metric.processes, []).append(metric)
    parts = [_INTRODUCTION]
    for processes in sorted(
        sections, key=lambda names: (len(names), list(REGISTRIES).index(names[0]))
    ):
        title = "Every process" if len(processes) == len(REGISTRIES) else " and ".join(processes)
        rows = [_row(metric, alerts, dashboards) for metric in sections[processes]]
        parts.append(
            f"## {title}\n\n"
            "| metric | type | labels | meaning | dashboards | alerts |\n"
            "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def _row(metric: Metric, alerts: dict[str, str], dashboards: dict[str, str]) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    shown = ", ".join(_using(metric, dashboards))
    alerted = ", ".join(f"[{name}](runbook.md#{name.lower()})" for name in _using(metric, alerts))
    cells = (f"`{metric.name}`", metric.kind, labels, metric.meaning, shown, alerted)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
