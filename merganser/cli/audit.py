"""`merganser audit`: is every event on the right profile, and every property right?"""

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from merganser.admin import audit as admin
from merganser.cli.terminal import actor, out, progress_bar, run
from merganser.identity.audit import IdentityAuditReport
from merganser.runtime.settings import Settings
from properties.audit import PropertyAuditReport

app = typer.Typer()

MAX_SHOWN = 100
"""Disagreements that a table shows."""


@app.command()
def audit(
    properties: Annotated[
        bool, typer.Option("--properties", help="Also recompute all properties of profiles.")
    ] = False,
) -> None:
    """Recompute the profile of each event and compare; exit with status 1 if anything differs."""
    settings = Settings.read()
    with progress_bar("auditing, percent", 100) as progress:
        reports = run(
            admin.run_audit(
                settings, actor(), lambda done: progress(100 * done), properties=properties
            )
        )
    _show_identity(reports.identity)
    if reports.properties:
        _show_properties(reports.properties)
    raise typer.Exit(1 if reports.disagreements else 0)


def _show_identity(report: IdentityAuditReport) -> None:
    if report.disagreements:
        table = Table("problem", "subject", "stored", "expected")
        for disagreement in report.disagreements[:MAX_SHOWN]:
            table.add_row(*(escape(text or "") for text in dataclasses.astuple(disagreement)))
        out.print(table)
    if report.pruned_before:
        out.print(
            f"links from before {report.pruned_before:%Y-%m-%d %H:%M} are not checked: "
            "their events may be pruned",
            highlight=False,
            soft_wrap=True,
        )
    out.print(
        f"{report.events:,} events compared, {report.unresolved:,} not resolved yet, "
        f"{report.moves_in_progress:,} moves and {report.erasures_in_progress:,} erasures in "
        "progress: " + _verdict(report.found),
        highlight=False,
        soft_wrap=True,
    )


def _show_properties(report: PropertyAuditReport) -> None:
    if report.disagreements:
        table = Table("profile", "property", "stored", "expected")
        for disagreement in report.disagreements[:MAX_SHOWN]:
            stored = ", ".join(disagreement.stored) or "no value"
            expected = ", ".join(disagreement.expected) or "no value"
            table.add_row(
                disagreement.profile, escape(disagreement.key), escape(stored), escape(expected)
            )
        out.print(table)
    out.print(
        f"properties of {report.profiles:,} profiles compared, {report.pending:,} profiles with "
        f"pending changes, {report.set_aside:,} set aside, {report.backfilling:,} rules in "
        f"backfill, {report.broken:,} broken: " + _verdict(report.found),
        highlight=False,
        soft_wrap=True,
    )


def _verdict(found: int) -> str:
    return f"[bold red]disagreements found: {found:,}" if found else "[green]all agree"
