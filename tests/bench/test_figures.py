"""The figures, targets and report of the benchmarks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev.bench import cluster, report
from dev.bench.ratios import Finding, Round, finding
from dev.bench.targets import TARGETS, Target

KEYS = {"name", "value", "unit", "ceiling", "ratio", "spread", "cpu"}

BENCHMARKS = [
    "ingest-single",
    "ingest-batch",
    "resolver",
    "scanner",
    "merge-heavy",
    "end-to-end",
    "latency",
    "growth",
    "memory",
    "scale-out",
    "cost",
    "properties",
    "segment",
    "workers",
]


def test_a_finding_is_the_medians_and_the_outer_ratios() -> None:
    rounds = [Round(50, 100), Round(30, 120), Round(90, 100)]

    assert finding("resolver", "events/s", rounds) == Finding(
        "resolver", 50, "events/s", 100, 0.5, (0.25, 0.9)
    )


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.49, "missed"), (0.5, "met"), (0.79, "met"), (0.8, "aim")]
)
def test_a_ratio_meets_a_minimum_target(ratio: float, verdict: str) -> None:
    assert Target(0.5, 0.8).verdict(build_finding("resolver", ratio)) == verdict


@pytest.mark.parametrize(
    ("value", "rounded"), [(1.694, 1.69), (0.07, 0.07), (281.66, 281.7), (4834.3, 4834)]
)
def test_small_values_have_more_decimals(value: float, rounded: float) -> None:
    assert finding("workers", "times", [Round(value, 2)]).value == rounded


def test_a_finding_has_the_median_cpu_of_each_process() -> None:
    rounds = [
        Round(1, 1, {"ingest": 30, "kafka": 4}),
        Round(1, 1, {"ingest": 20.04, "kafka": 9}),
        Round(1, 1, {"ingest": 10, "kafka": 2}),
    ]

    assert finding("ingest-batch", "events/s", rounds).cpu == {"ingest": 20, "kafka": 4}


@pytest.mark.parametrize(
    ("value", "verdict"), [(150.1, "missed"), (150, "met"), (120.1, "met"), (120, "aim")]
)
def test_a_cost_meets_a_maximum_value(value: float, verdict: str) -> None:
    found = Finding("cost-ingest-single", value, "µs/event", 50, value / 50, (1, 9))

    assert Target(150, 120, at_most=True, of_value=True).verdict(found) == verdict


@pytest.mark.parametrize(
    ("times", "verdict"), [(1.69, "missed"), (1.7, "met"), (1.89, "met"), (1.9, "aim")]
)
def test_a_multiple_meets_a_minimum_value(times: float, verdict: str) -> None:
    found = Finding("workers", times, "times", 2, times / 2, (0.5, 1))

    assert Target(1.7, 1.9, of_value=True).verdict(found) == verdict


@pytest.mark.parametrize(
    ("name", "unit", "bounds"),
    [
        ("resolver", "events/s", ["0.75", "0.85"]),
        ("latency-p50", "ms", ["≤ 2.5", "≤ 2"]),
        ("memory", "MiB", ["≤ 140 MiB", "≤ 100 MiB"]),
        ("cost-ingest-batch", "µs/event", ["≤ 10 µs/event", "≤ 6 µs/event"]),
    ],
)
def test_a_row_shows_both_bounds_with_the_unit_of_values(
    name: str, unit: str, bounds: list[str]
) -> None:
    found = Finding(name, 8, unit, 4, 2, (2, 2), {"gateway": 8, "kafka": 2.5})

    cells = report.row(found)

    assert cells[6:8] == bounds
    assert cells[-1] == "gateway 8, kafka 2.5"


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(4.1, "missed"), (4, "met"), (2.1, "met"), (2, "aim")]
)
def test_a_time_meets_a_maximum_target(ratio: float, verdict: str) -> None:
    assert Target(4, 2, at_most=True).verdict(build_finding("latency-p50", ratio)) == verdict


def test_the_report_replaces_only_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, results = tmp_path / "performance.md", tmp_path / "results.jsonl"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    found = [
        build_finding("resolver", 0.1),
        build_finding("resolver", 0.6),
        build_finding("memory", 0.3),
    ]
    found.append(Finding("cost-resolver", 12, "µs/event", 6, 2, (2, 2)))
    results.write_text("".join(f"{json.dumps(finding._asdict())}\n" for finding in found))
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report, "PAGE", page)

    report.write(results)
    written = page.read_text()
    report.write(results)

    assert page.read_text() == written
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written
    assert "| resolver | 60.0 | 100 | events/s | 0.60 |" in written
    assert "| 0.10 |" not in written  # the later measurement counts
    assert "| cost-resolver | 12 | 6 | µs/event | 2.00 | 2.00 to 2.00 | ≤ 14 µs/event |" in written
    for plot in ("performance-ratios.svg", "performance-costs.svg"):
        assert (tmp_path / plot).read_text().lstrip().startswith("<?xml")


def test_the_page_has_a_figure_for_every_target() -> None:
    page = report.PAGE.read_text()

    assert [name for name in TARGETS if f"| {name} |" not in page] == []


def test_the_size_of_a_cluster_follows_from_the_cost_of_an_event() -> None:
    costs = {"ingest-single": 100, "ingest-batch": 20, "resolver": 20, "resolver-postgres": 50}
    sizes = {"wal": (2500, 2400), "disk": (2000, 500)}
    found = {
        f"cost-{name}": Finding(f"cost-{name}", value, "µs/event", 1, value, (value, value))
        for name, value in costs.items()
    } | {
        f"cost-{name}": Finding(f"cost-{name}", value, "bytes/event", ceiling, 1, (1, 1))
        for name, (value, ceiling) in sizes.items()
    }

    small, middle, _ = cluster.rows(found)

    assert small == ["1,000", "1", "1", "12", "1.5", "1", "1", "2.5", "0.17"]
    assert middle == ["50,000", "10", "2", "14", "75.0", "7", "5", "125.0", "8.64"]


def test_a_cluster_has_no_size_without_all_costs() -> None:
    assert cluster.rows({"resolver": build_finding("resolver", 0.5)}) == []


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_prints_its_figures_as_json(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dev.bench", name, "--json", "--quick"],
        check=True,
        capture_output=True,
        text=True,
    )

    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert lines
    for line in lines:
        assert line.keys() == KEYS
        assert line["name"].startswith(name)
        assert line["value"] > 0
        assert line["ceiling"] > 0
    wanted = {target for target in TARGETS if target.startswith(name)}
    assert wanted <= {line["name"] for line in lines}


def build_finding(name: str, ratio: float) -> Finding:
    return Finding(name, round(ratio * 100, 1), "events/s", 100, ratio, (ratio, ratio))
