"""`make torture`: run after run with other seeds, until one disagrees or all are done."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support import servers
from tests.support.database import Cluster
from tests.torture.torture import Size, Verdict, torture

console = Console()


def main() -> int:
    """Return 1 if any run disagreed."""
    parser = argparse.ArgumentParser(prog="make torture ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first run's; then the next ones")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--events", type=int, default=Size.events)
    parser.add_argument("--kills", type=int, default=Size.kills)
    chosen = parser.parse_args()
    size = Size(events=chosen.events, kills=chosen.kills)
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with (
            console.status("starting Kafka and Postgres") as status,
            servers.running(servers.choose(), home / "servers") as running,
        ):
            cluster = Cluster(running.database_url)
            with cluster.template() as template:
                for seed in range(chosen.seed, chosen.seed + chosen.runs):
                    verdict = asyncio.run(
                        torture(
                            running.kafka_bootstrap,
                            cluster,
                            template,
                            home / f"run-{seed}",
                            seed,
                            size,
                            lambda said, seed=seed: status.update(f"seed {seed}: {said}"),  # type: ignore[misc] # mypy cannot infer a default in a lambda
                        )
                    )
                    _tell(verdict)
                    verdicts.append(verdict)
                    if verdict.disagreements:
                        break
    _sum_up(verdicts)
    return any(verdict.disagreements for verdict in verdicts)


def _tell(verdict: Verdict) -> None:
    outcome = "[bold red]disagrees" if verdict.disagreements else "[green]agrees"
    console.print(
        f"seed {verdict.seed}: {verdict.events:,} events, {verdict.kills} kills, "
        f"{verdict.merges:,} merges, {verdict.seconds:.0f} s: {outcome}",
        highlight=False,
    )
    for disagreement in verdict.disagreements:
        console.print(f"  {disagreement}", style="red", markup=False, soft_wrap=True)


def _sum_up(verdicts: list[Verdict]) -> None:
    table = Table("runs", "events", "kills", "merges", "disagreements")
    table.add_row(
        str(len(verdicts)),
        f"{sum(verdict.events for verdict in verdicts):,}",
        str(sum(verdict.kills for verdict in verdicts)),
        f"{sum(verdict.merges for verdict in verdicts):,}",
        str(sum(len(verdict.disagreements) for verdict in verdicts)),
    )
    console.print(table)


sys.exit(main())
