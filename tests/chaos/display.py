"""What a run prints: a live view on a terminal, plain lines elsewhere, and the verdict."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tests.chaos.deployment import Deployment
from tests.chaos.ledger import Ledger
from tests.chaos.monitor import Monitor
from tests.chaos.verdict import Verdict

REFRESH_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Between two plain lines of figures."""


@dataclass
class Display:
    """Shows one run while it goes on."""

    console: Console
    title: str
    lines: bool = True
    """Whether to print lines where the console is not a terminal."""
    phase: str = ""
    started: float = field(default_factory=time.monotonic)
    active: dict[str, str] = field(default_factory=dict)
    """Descriptions of the faults that are not fixed yet, by name."""
    failures: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def start_phase(self, phase: str) -> None:
        """Show a new phase of the run."""
        self.phase = phase
        self._line(phase)

    def start_fault(self, name: str, description: str) -> None:
        """Show a fault that was injected."""
        self.active[name] = description
        self._line(f"✗ {description}")

    def end_fault(self, name: str) -> None:
        """Show that a fault is fixed."""
        self.active.pop(name, None)
        self.done[name] += 1

    def fail(self, reason: str) -> None:
        """Show a failure."""
        self.failures.append(reason)
        self._line(f"FAILED: {reason}")

    async def run(self, monitor: Monitor, ledger: Ledger) -> None:
        """Show the run until cancelled."""
        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(LINE_SECONDS)
                figures = _figures(monitor, ledger).items()
                self._line(", ".join(f"{name} {value:,}" for name, value in figures))
        with Live(console=self.console, transient=True, auto_refresh=False) as live:
            while True:
                live.update(self._view(monitor, ledger), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)

    def _line(self, text: str) -> None:
        if self.lines and not self.console.is_terminal:
            clock = f"{time.monotonic() - self.started:6.1f} s"
            self.console.print(f"{clock}  {text}", highlight=False, markup=False, soft_wrap=True)

    def _view(self, monitor: Monitor, ledger: Ledger) -> Group:
        clock = time.monotonic() - self.started
        head = Text.assemble((self.title, "bold"), f"  {clock:.0f} s  ", (self.phase, "dim"))
        figures = Table.grid(padding=(0, 3))
        for name, value in _figures(monitor, ledger).items():
            figures.add_row(Text(name, style="dim"), Text(f"{value:,}", justify="right"))
        up = Text()
        for server, answers in (
            ("Kafka", monitor.kafka_answers),
            ("Postgres", monitor.postgres_answers),
        ):
            up.append(f"● {server}  ", style="green" if answers else "red")
        for service in monitor.deployment.services:
            if service.running or service not in monitor.deployment.spares:
                up.append(f"● {service.name}  ", style="green" if service.running else "red")
        active = [Text(f"✗ {text}", style="bold red") for text in self.active.values()]
        nothing = Text("✓ no fault is active: the system must make progress", style="green")
        done = ", ".join(f"{name} {count}" for name, count in self.done.most_common())
        faults = Text(f"{self.done.total()} faults so far: {done}", style="dim")
        failures = [Text(f"FAILED: {reason}", style="red") for reason in self.failures]
        parts: list[RenderableType] = [head, *(active or [nothing]), figures, up, faults, *failures]
        return Group(*(line for part in parts for line in (part, Text())))


@asynccontextmanager
async def watching(
    deployment: Deployment, ledger: Ledger, display: Display
) -> AsyncIterator[Monitor]:
    """Run a monitor, and show its figures, for the length of an `async with` block."""
    monitor = Monitor(deployment)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(monitor.run()),
            group.create_task(display.run(monitor, ledger)),
        ]
        yield monitor
        for task in tasks:
            task.cancel()


def _figures(monitor: Monitor, ledger: Ledger) -> dict[str, int]:
    return {
        "acknowledged": len(ledger),
        "refused or unanswered": ledger.refused,
        "sent again": ledger.sent_again,
        "stored": monitor.stored,
        "without a profile": monitor.unresolved,
        "consumer lag": monitor.lag,
    }


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Print the verdict of a run under load."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for name, count, what in (
        ("acknowledged", verdict.acknowledged, "events answered with 200, or committed as rows"),
        ("stored", verdict.stored, "also those whose answer was lost"),
    ):
        table.add_row(f"{count:,}", name, Text(what, style="dim"))
    for name, count, what in (
        ("missing", verdict.missing, "acknowledged and not stored"),
        ("duplicated", verdict.duplicated, "stored more than once"),
        ("misplaced", verdict.misplaced, "on another profile than the definition says"),
        ("altered", verdict.altered, "stored with other ids, time, type or data than sent"),
        ("never sent", verdict.never_sent, "stored although no client sent it"),
        ("kept", verdict.kept, "events stored although their person is forgotten"),
        (
            "traces",
            verdict.traces,
            "rows with an id, profile or event of a forgotten person",
        ),
        (
            "delayed",
            verdict.delayed,
            f"of {verdict.measured:,} regular events behind hostile ones",
        ),
    ):
        style = "bold red" if count else "green"
        table.add_row(Text(f"{count:,}", style=style), name, Text(what, style="dim"))
    table.add_row(f"{sum(verdict.faults.values()):,}", "faults survived", _faults(verdict))
    recovery, after = verdict.slowest_recovery
    memory = ", ".join(f"{kind} {mib}" for kind, mib in sorted(verdict.peak_mib.items()))
    console.print(table)
    notes = (
        f"{verdict.profiles:,} profiles, {verdict.merges:,} merges, {verdict.rows:,} rows of other "
        f"systems, {verdict.dead_letters} invalid records among the dead letters\n"
        f"{verdict.refused:,} requests were refused or left unanswered, {verdict.sent_again:,} "
        f"events were sent again\n"
        f"{_corrections(verdict)}\n"
        f"{verdict.set_aside:,} hostile records, rows and profiles were set aside\n"
        f"slowest recovery {recovery:.1f} s, after: {after}\n"
        f"peak memory in MiB: {memory}"
    )
    console.print(notes, style="dim", highlight=False)
    _show_failures(console, verdict)
    outcome = "[bold green]nothing lost" if verdict.good else "[bold red]NOT GOOD"
    console.print(f"seed {verdict.seed}, {verdict.seconds:.0f} s: {outcome}", highlight=False)


def show_torture_verdict(console: Console, verdict: Verdict) -> None:
    """Print the verdict of one short run in one line, and its failures."""
    outcome = "[green]agrees" if verdict.good else "[bold red]disagrees"
    console.print(
        f"seed {verdict.seed}: {verdict.acknowledged:,} events, {verdict.kills} kills, "
        f"{verdict.merges:,} merges, {_corrections(verdict)}, {verdict.seconds:.0f} s: {outcome}",
        highlight=False,
        soft_wrap=True,
    )
    _show_failures(console, verdict)


def show_torture_total(console: Console, verdicts: list[Verdict]) -> None:
    """Print the sums of all short runs."""
    table = Table(
        *("runs", "events", "kills", "merges", "unlinks", "relinks", "forgotten", "disagreements")
    )
    table.add_row(
        str(len(verdicts)),
        f"{sum(verdict.acknowledged for verdict in verdicts):,}",
        str(sum(verdict.kills for verdict in verdicts)),
        f"{sum(verdict.merges for verdict in verdicts):,}",
        f"{sum(verdict.unlinks for verdict in verdicts):,}",
        f"{sum(verdict.relinks for verdict in verdicts):,}",
        f"{sum(verdict.forgotten for verdict in verdicts):,}",
        str(sum(len(verdict.failures) for verdict in verdicts)),
    )
    console.print(table)


def _corrections(verdict: Verdict) -> str:
    return (
        f"{verdict.unlinks:,} unlinks and {verdict.relinks:,} relinks: {verdict.misplaced:,} "
        f"events misplaced; {verdict.forgotten:,} people forgotten with {verdict.erased:,} events: "
        f"{verdict.kept + verdict.traces:,} traces; {verdict.interrupted:,} killed commands"
    )


def _show_failures(console: Console, verdict: Verdict) -> None:
    for failure in verdict.failures:
        console.print(f"✗ {failure}", style="red", markup=False, highlight=False, soft_wrap=True)


def _faults(verdict: Verdict) -> Text:
    ordered = sorted(verdict.faults.items(), key=lambda item: (-item[1], item[0]))
    return Text(", ".join(f"{name} {count}" for name, count in ordered), style="dim")
