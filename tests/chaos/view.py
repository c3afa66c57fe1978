"""What a run shows: a live picture on a terminal, plain lines elsewhere, and the verdict."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tests.chaos.ledger import Ledger
from tests.chaos.verdict import Verdict
from tests.chaos.watch import Watch

REFRESH_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Between two plain lines of figures."""


@dataclass
class View:
    """One run as it is seen; it knows what is under way, the rest it looks up."""

    console: Console
    seed: int
    phase: str = ""
    started: float = field(default_factory=time.monotonic)
    harms: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def say(self, phase: str) -> None:
        """A new phase of the run."""
        self.phase = phase
        self._line(phase)

    def under_way(self, fault: str, what: str) -> None:
        """A fault is inflicted."""
        self.harms[fault] = what
        self._line(f"✗ {what}")

    def over(self, fault: str) -> None:
        """A fault is fixed."""
        self.harms.pop(fault, None)
        self.done[fault] += 1

    def failed(self, why: str) -> None:
        """The verdict will not be good."""
        self.failures.append(why)
        self._line(f"FAILED: {why}")

    async def show(self, watch: Watch, ledger: Ledger) -> None:
        """Show the run until cancelled."""
        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(LINE_SECONDS)
                self._line(_figures(watch, ledger))
        with Live(console=self.console, transient=True, auto_refresh=False) as live:
            while True:
                live.update(self._picture(watch, ledger), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            clock = f"{time.monotonic() - self.started:6.1f} s"
            self.console.print(f"{clock}  {text}", highlight=False, markup=False, soft_wrap=True)

    def _picture(self, watch: Watch, ledger: Ledger) -> Group:
        clock = time.monotonic() - self.started
        head = Text.assemble(
            (f"chaos, seed {self.seed}", "bold"), f"  {clock:.0f} s  ", (self.phase, "dim")
        )
        figures = Table.grid(padding=(0, 3))
        for name, value in _numbers(watch, ledger).items():
            figures.add_row(Text(name, style="dim"), Text(f"{value:,}", justify="right"))
        up = Text()
        for server, answers in (
            ("Kafka", watch.kafka_answers),
            ("Postgres", watch.postgres_answers),
        ):
            up.append(f"● {server}  ", style="green" if answers else "red")
        for service in watch.stage.services:
            if service.running or service not in watch.stage.extras:
                up.append(f"● {service.name}  ", style="green" if service.running else "red")
        harms = [Text(f"✗ {what}", style="bold red") for what in self.harms.values()]
        calm = Text("✓ nothing is broken: all must go on", style="green")
        done = ", ".join(f"{name} {count}" for name, count in self.done.most_common())
        faults = Text(f"{self.done.total()} faults so far: {done}", style="dim")
        failures = [Text(f"FAILED: {why}", style="red") for why in self.failures]
        parts: list[RenderableType] = [head, *(harms or [calm]), figures, up, faults, *failures]
        return Group(*(line for part in parts for line in (part, Text())))


def _numbers(watch: Watch, ledger: Ledger) -> dict[str, int]:
    return {
        "acknowledged": len(ledger.guids),
        "refused or unanswered": ledger.refused,
        "sent again": ledger.repeats,
        "stored": watch.stored,
        "without a profile": watch.unresolved,
        "consumer lag": watch.lag,
    }


def _figures(watch: Watch, ledger: Ledger) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in _numbers(watch, ledger).items())


def show_verdict(console: Console, verdict: Verdict) -> None:
    """The end of a run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for name, count, what in (
        ("acknowledged", verdict.acknowledged, "events answered with 200, or committed as rows"),
        ("stored", verdict.stored, "also those whose answer was lost on the way"),
    ):
        table.add_row(f"{count:,}", name, Text(what, style="dim"))
    for name, count, what in (
        ("missing", verdict.missing, "acknowledged and not stored"),
        ("duplicated", verdict.duplicated, "stored more than once"),
        ("misplaced", verdict.misplaced, "on another profile than the definition says"),
        ("altered", verdict.altered, "ids, time, type or data not as sent"),
        ("invented", verdict.invented, "stored and never sent"),
        (
            "delayed",
            verdict.delayed,
            f"of {verdict.measured:,} innocent events behind hostile ones",
        ),
    ):
        style = "bold red" if count else "green"
        table.add_row(Text(f"{count:,}", style=style), name, Text(what, style="dim"))
    table.add_row(f"{sum(verdict.faults.values()):,}", "faults survived", _kinds(verdict))
    recovery, after = verdict.slowest_recovery
    memory = ", ".join(f"{kind} {mib}" for kind, mib in sorted(verdict.peak_mib.items()))
    console.print(table)
    notes = (
        f"{verdict.profiles:,} profiles, {verdict.merges:,} merges, {verdict.rows:,} rows of other "
        f"systems, {verdict.dead_letters} records of garbage among the dead letters\n"
        f"{verdict.refused:,} requests were refused or left unanswered, {verdict.repeats:,} "
        f"events were sent again\n"
        f"{verdict.set_aside:,} hostile records, rows and profiles were set aside\n"
        f"slowest recovery {recovery:.1f} s, after: {after}\n"
        f"peak memory in MiB: {memory}"
    )
    console.print(notes, style="dim", highlight=False)
    for failure in verdict.failures:
        console.print(f"✗ {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
    outcome = "[bold green]nothing lost" if verdict.good else "[bold red]NOT GOOD"
    console.print(f"seed {verdict.seed}, {verdict.seconds:.0f} s: {outcome}", highlight=False)


def _kinds(verdict: Verdict) -> Text:
    ordered = sorted(verdict.faults.items(), key=lambda item: (-item[1], item[0]))
    return Text(", ".join(f"{name} {count}" for name, count in ordered), style="dim")
