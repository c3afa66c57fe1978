"""Grafana panels and dashboards as plain dicts.

The JSON model: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 24
"""Columns of Grafana's grid."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a panel: one line, or one line for each value of a label.

    Attributes:
        expr: PromQL; Grafana replaces `$__rate_interval` and `$instance`.
        legend: the line's name, with labels as `{{label}}`.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: a chart or a number.

    Attributes:
        title: a few words.
        unit: Grafana's name: `s`, `eps` (events a second), `percentunit`.
        about: an explanation for readers who see it for the first time.
        queries: one for each line or group of lines.
        stat: whether it is a number instead of a chart.
        stacked: whether to stack the lines, as their sum is meaningful.
    """

    title: str
    unit: str
    about: str
    queries: Sequence[Query]
    stat: bool = False
    stacked: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width in columns and height in rows."""
        return (4, 4) if self.stat else (8, 8)


def dashboard(uid: str, title: str, panels: Iterable[Panel], job: str | None = None) -> Any:
    """Return a dashboard as Grafana's JSON model.

    Args:
        uid: its name in URLs.
        title: its title.
        panels: from left to right and from top to bottom.
        job: whose instances can be chosen; None for a dashboard of all processes.
    """
    return {
        "uid": uid,
        "title": title,
        "tags": ["merganser"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "Merganser",
                "type": "dashboards",
                "tags": ["merganser"],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), *([_instances(job)] if job else [])]},
        "annotations": {"list": []},
        "panels": list(_placed(panels)),
    }


def _placed(panels: Iterable[Panel]) -> Iterable[Any]:
    x = y = row = 0
    for number, panel in enumerate(panels, start=1):
        width, height = panel.size
        if x + width > WIDTH or (x and height != row):
            x, y = 0, y + row
        row = height
        yield _panel(number, panel, {"x": x, "y": y, "w": width, "h": height})
        x += width


def _panel(number: int, panel: Panel, place: dict[str, int]) -> Any:
    custom = {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}
    if panel.stacked:
        custom = {**custom, "fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.stat,
                "range": not panel.stat,
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {} if panel.stat else custom},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"}
        if panel.stat
        else {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _source() -> Any:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _instances(job: str) -> Any:
    query = f'label_values(up{{job="{job}"}}, instance)'
    return {
        "name": "instance",
        "label": "Instance",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "instances"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }
