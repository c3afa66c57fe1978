"""`python -m dev.bench`: measure, and make the table and the plots of docs/performance.md.

python -m dev.bench [NAME ...] [--json] [--quick] [--save FILE]
python -m dev.bench report RESULTS
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dev.bench import (
    big_merge,
    console,
    cost,
    end_to_end,
    growth,
    ingest_batch,
    ingest_single,
    latency,
    many_ids,
    memory,
    merge_heavy,
    properties,
    read_api,
    report,
    resolver,
    scale_out,
    scanner,
    segment,
    workers,
)
from dev.bench.ratios import Finding, Run
from dev.bench.table import show

BENCHMARKS: dict[str, Callable[[Run], Iterator[Finding]]] = {
    "ingest-single": ingest_single.measure,
    "ingest-batch": ingest_batch.measure,
    "resolver": resolver.measure,
    "scanner": scanner.measure,
    "merge-heavy": merge_heavy.measure,
    "end-to-end": end_to_end.measure,
    "latency": latency.measure,
    "growth": growth.measure,
    "memory": memory.measure,
    "scale-out": scale_out.measure,
    "cost": cost.measure,
    "properties": properties.measure,
    "segment": segment.measure,
    "workers": workers.measure,
}
"""Benchmarks with a ceiling to compare with; `make bench` runs all of them."""

STUDIES = {
    "many-ids": many_ids.main,
    "big-merge": big_merge.main,
    "read-api": read_api.main,
    "console": console.main,
}
"""Studies, which print their own tables; each runs only by its name."""


def main() -> None:
    """Parse the command line and run it."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.bench",
        description=f"{', '.join(BENCHMARKS)}; by name also {', '.join(STUDIES)}; "
        "or: report RESULTS, which updates docs/performance.md.",
    )
    parser.add_argument(
        "name", nargs="*", help="what to measure (default: all benchmarks with a ceiling)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a short run that only shows that it works: ignore its figures",
    )
    parser.add_argument("--save", type=Path, help="also append the JSON objects to this file")
    arguments = parser.parse_args()
    match arguments.name:
        case ["report", results]:
            report.write(Path(results))
        case names:
            if unknown := set(names) - BENCHMARKS.keys() - STUDIES.keys():
                parser.error(f"no benchmark {', '.join(sorted(unknown))}")
            _measure(names or list(BENCHMARKS), Run(quick=arguments.quick), arguments)


def _measure(names: list[str], run: Run, arguments: argparse.Namespace) -> None:
    findings: list[Finding] = []
    for name in names:
        if name in STUDIES:
            STUDIES[name]()
            continue
        start = time.monotonic()
        for finding in BENCHMARKS[name](run):
            findings.append(finding)
            report.write_line(finding, arguments.save, show=arguments.json)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if findings and not arguments.json:
        show(
            f"{run.rounds} rounds each",
            report.COLUMNS,
            [report.row(finding) for finding in findings],
        )


main()
