"""`make chaos`: break everything under load, then prove that nothing was lost.

With `--torture`: deliver short random histories while processes are killed, each on a new
database, and compare with the definition of identity; stop at the first run that disagrees.
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import structlog
from rich.console import Console

from tests.chaos import chaos, torture
from tests.chaos.chaos import Plan
from tests.chaos.display import show_torture_total, show_torture_verdict, show_verdict
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.torture import Size
from tests.chaos.verdict import Verdict

console = Console()


def main() -> int:
    """Return 1 if anything was wrong in any run."""
    parser = _parser()
    chosen = parser.parse_args()
    other_mode = {"seconds", "rate", "only"} if chosen.torture else {"events", "kills"}
    for option in sorted(other_mode & vars(chosen).keys()):
        parser.error(f"--{option} belongs to the other mode: see --torture")
    parts = vars(chosen).get("only", "").split(",")
    faults = [fault for fault in FAULTS if any(part in fault.name for part in parts)]
    if not faults:
        parser.error(f"--only: the faults are {', '.join(fault.name for fault in FAULTS)}")
    for library in ("aiokafka", "psycopg"):
        logging.getLogger(library).setLevel("CRITICAL")  # faults also affect our own clients
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first = chosen.seed
    if first is None:
        first = 1 if chosen.torture else random.randrange(1_000_000)
    seeds = map(int, chosen.seeds.split(",")) if chosen.seeds else range(first, first + chosen.runs)
    home = (chosen.home or Path(tempfile.mkdtemp(prefix="merganser-chaos-"))).absolute()
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        parser.error(f"{home} is not empty")
    good = []
    for verdict in (
        _torture(chosen, home, seeds) if chosen.torture else _chaos(chosen, home, seeds, faults)
    ):
        good.append(verdict.good)
        if chosen.json:
            with chosen.json.open("a") as lines:
                lines.write(json.dumps(verdict.as_json()) + "\n")
    if all(good) and not chosen.home:
        shutil.rmtree(home)
    else:
        console.print(f"logs and data: {home}", highlight=False, soft_wrap=True)
    return not all(good)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, help="decides events and faults; default: random")
    parser.add_argument("--runs", type=int, default=1, help="with this seed and the next ones")
    parser.add_argument("--seeds", help="the seeds of the runs, separated by commas")
    parser.add_argument("--home", type=Path, help="an empty folder for data and logs, which stay")
    parser.add_argument("--json", type=Path, help="append the verdicts to this file, one a line")
    load = parser.add_argument_group("under load", argument_default=argparse.SUPPRESS)
    load.add_argument("--seconds", type=float, help=f"how long; default: {Plan.seconds:g}")
    load.add_argument("--rate", type=float, help=f"events a second; default: {Plan.rate:g}")
    load.add_argument("--only", help="faults whose names contain one of these, comma-separated")
    short = parser.add_argument_group("short runs", argument_default=argparse.SUPPRESS)
    short.add_argument(
        "--torture", action="store_true", default=False, help="short runs; default seed: 1"
    )
    short.add_argument("--events", type=int, help=f"in a history; default: {Size.events:,}")
    short.add_argument("--kills", type=int, help=f"killed processes; default: {Size.kills}")
    return parser


def _chaos(
    chosen: argparse.Namespace, home: Path, seeds: Iterable[int], faults: Sequence[Fault]
) -> Iterator[Verdict]:
    options = {key: value for key, value in vars(chosen).items() if key in ("seconds", "rate")}
    for seed in seeds:
        place = home / f"seed-{seed}"
        console.print(f"seed {seed}: starting Kafka, Postgres and our processes", highlight=False)
        verdict = asyncio.run(chaos.run(Plan(seed, faults=faults, **options), place, console))
        show_verdict(console, verdict)
        if verdict.good and not chosen.home:
            shutil.rmtree(place)
        yield verdict


def _torture(chosen: argparse.Namespace, home: Path, seeds: Iterable[int]) -> Iterator[Verdict]:
    size = Size(**{key: value for key, value in vars(chosen).items() if key in ("events", "kills")})
    verdicts = []
    with torture.torture_servers(home / "servers") as servers:
        for seed in seeds:
            place = home / f"seed-{seed}"
            verdict = asyncio.run(torture.run(servers, place, seed, size, console))
            show_torture_verdict(console, verdict)
            verdicts.append(verdict)
            yield verdict
            if not verdict.good:
                break
    show_torture_total(console, verdicts)


if __name__ == "__main__":
    sys.exit(main())
