"""A small live view of a running stack, from the metrics that each process serves."""

import time
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.live import Live
from rich.table import Table

from dev.stack import StackInfo
from merganser.cli.terminal import out

ROWS = {
    "events accepted": ("ingest", "merganser_ingest_events_accepted_total"),
    "events rejected": ("ingest", "merganser_ingest_events_rejected_total"),
    "events resolved": ("resolver", "merganser_events_resolved_total"),
    "external rows resolved": ("scanner", "merganser_scanner_rows_resolved_total"),
    "lag (records)": ("resolver", "merganser_resolver_lag_records"),
    "properties written": ("properties", "merganser_properties_values_written_total"),
    "properties' delay (seconds)": ("properties", "merganser_properties_staleness_seconds"),
    "merges by events": ("resolver", "merganser_profile_merges_total"),
    "merges by rows": ("scanner", "merganser_profile_merges_total"),
    "dead letters": ("resolver", "merganser_resolver_dead_letters_total"),
    "unresolved rows": ("scanner", "merganser_scanner_unresolved_rows"),
}

Totals = Mapping[str, float | None]


def watch(info: StackInfo, title: str) -> None:
    """Show the view with a title, updated every second, until Ctrl-C."""
    with httpx.Client(timeout=2) as http, Live(console=out, auto_refresh=False) as live:
        before, then = _read(http, info), time.monotonic()
        while True:
            time.sleep(1)
            now, totals = time.monotonic(), _read(http, info)
            live.update(_table(title, before, totals, now - then), refresh=True)
            before, then = totals, now


def _read(http: httpx.Client, info: StackInfo) -> Totals:
    """Return the sum of each row's series; None if the process does not answer."""
    sums = {name: _sums(http, url) for name, url in info.metrics.items()}
    return {
        label: series.get(metric, 0.0) if (series := sums[process]) is not None else None
        for label, (process, metric) in ROWS.items()
    }


def _sums(http: httpx.Client, url: str) -> dict[str, float] | None:
    try:
        text = http.get(url).raise_for_status().text
    except httpx.HTTPError:
        return None
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def _table(title: str, before: Totals, totals: Totals, seconds: float) -> Table:
    table = Table("", "now", "per second", title=title, caption="Ctrl-C stops everything")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, total in totals.items():
        earlier = before[label]
        if total is None:
            table.add_row(label, "[red]no answer[/]", "")
        elif ROWS[label][1].endswith("_total") and earlier is not None:
            table.add_row(label, f"{total:,.0f}", f"{max(total - earlier, 0) / seconds:,.0f}")
        else:
            table.add_row(label, f"{total:,.0f}", "")
    return table
