"""`python -m dev.bench`: measure, and make the table and the plots of docs/performance.md.

python -m dev.bench [NAME ...] [--json] [--quick] [--save FILE]
python -m dev.bench report RESULTS
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dev.bench import (
    big_merge,
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
}
"""Figures beside their ceilings: all that `make bench` measures."""

STUDIES = {
    "many-ids": many_ids.main,
    "big-merge": big_merge.main,
    "read-api": read_api.main,
}
"""Questions with tables of their own; each is run by its name."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.bench",
        description=f"{', '.join(BENCHMARKS)}; by name also {', '.join(STUDIES)}; "
        "or: report RESULTS, which brings docs/performance.md up to date.",
    )
    parser.add_argument("name", nargs="*", help="what to measure (default: what has a ceiling)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument(
        "--quick", action="store_true", help="everything once and small: no figures"
    )
    parser.add_argument("--save", type=Path, help="append the objects to this file as well")
    asked = parser.parse_args()
    match asked.name:
        case ["report", results]:
            report.write(Path(results))
        case names:
            if unknown := set(names) - BENCHMARKS.keys() - STUDIES.keys():
                parser.error(f"no benchmark {', '.join(sorted(unknown))}")
            _measure(names or list(BENCHMARKS), Run(quick=asked.quick), asked)


def _measure(names: list[str], run: Run, asked: argparse.Namespace) -> None:
    found: list[Finding] = []
    for name in names:
        if name in STUDIES:
            STUDIES[name]()
            continue
        start = time.monotonic()
        for one in BENCHMARKS[name](run):
            found.append(one)
            line = json.dumps(one._asdict())
            if asked.json:
                print(line, flush=True)
            if asked.save:
                with asked.save.open("a") as file:
                    file.write(f"{line}\n")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if found and not asked.json:
        show(f"{run.rounds} rounds each", report.COLUMNS, [report.row(one) for one in found])


main()
