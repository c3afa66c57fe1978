"""`make chaos`: break everything under load, then prove that nothing was lost."""

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos.faults import TABLE
from tests.chaos.run import Plan, run
from tests.chaos.view import show_verdict

console = Console()


def main() -> int:
    """Return 1 if anything was wrong in any run."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="how long to break")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="events a second")
    parser.add_argument("--seed", type=int, help="decides events and faults; default: random")
    parser.add_argument("--runs", type=int, default=1, help="with this seed and the next ones")
    parser.add_argument("--seeds", help="the seeds of the runs, by comma")
    parser.add_argument("--only", default="", help="faults whose names have one of these, by comma")
    parser.add_argument("--home", type=Path, help="an empty place for data and logs; kept")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file, one a line")
    chosen = parser.parse_args()
    for library in ("aiokafka", "psycopg"):
        logging.getLogger(library).setLevel("CRITICAL")  # our own clients meet the faults, too
    first = random.randrange(1_000_000) if chosen.seed is None else chosen.seed
    seeds = map(int, chosen.seeds.split(",")) if chosen.seeds else range(first, first + chosen.runs)
    faults = [e for e in TABLE if any(part in e.name for part in chosen.only.split(","))]
    if not faults:
        parser.error(f"--only: the faults are {', '.join(entry.name for entry in TABLE)}")
    home = (chosen.home or Path(tempfile.mkdtemp(prefix="merganser-chaos-"))).absolute()
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        parser.error(f"{home} is not empty")
    good = []
    for seed in seeds:
        place = home / f"seed-{seed}"
        console.print(f"seed {seed}: starting Kafka, Postgres and our processes", highlight=False)
        plan = Plan(seed, chosen.seconds, chosen.rate, faults)
        verdict = asyncio.run(run(plan, place, console))
        show_verdict(console, verdict)
        good.append(verdict.good)
        if verdict.good and not chosen.home:
            shutil.rmtree(place)
        else:
            console.print(f"logs and data: {place}", highlight=False, soft_wrap=True)
        if chosen.json:
            with chosen.json.open("a") as lines:
                lines.write(json.dumps(verdict.as_json()) + "\n")
    if not any(home.iterdir()):
        home.rmdir()
    return not all(good)


if __name__ == "__main__":
    sys.exit(main())
