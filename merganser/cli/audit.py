"""`merganser audit`: is every event on the right profile, and every property right?"""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from merganser.admin import audit as admin
from merganser.cli.terminal import out, progress_bar, run
from merganser.identity.audit import IdentityAuditReport
from merganser.runtime.settings import Settings
from properties.audit import PropertyAuditReport

app = typer.Typer()

MAX_SHOWN = 100
"""Disagreements about properties that the table shows."""


@app.command()
def audit(
    properties: Annotated[
        bool, typer.Option("--properties", help="Also recompute all properties of profiles.")
    ] = False,
) -> None:
    """Recompute the profile of each event and compare; exit with status 1 if anything differs."""
    settings = Settings.read()
    with progress_bar("auditing identity, percent", 100) as progress:
        report = run(admin.audit_identity(settings, lambda done: progress(100 * done)))
    _show_identity(report)
    agrees = not report.disagreements
    if properties:
        with progress_bar("auditing properties, percent", 100) as progress:
            properties_report = run(
                admin.audit_properties(
                    settings, datetime.now(UTC), lambda done: progress(100 * done)
                )
            )
        _show_properties(properties_report)
        agrees = agrees and not properties_report.disagreements
    raise typer.Exit(0 if agrees else 1)


def _show_identity(report: IdentityAuditReport) -> None:
    if report.disagreements:
        table = Table("problem", "subject", "stored", "expected")
        for disagreement in report.disagreements:
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
        "progress: " + _verdict(report.disagreements),
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
        f"backfill, {report.broken:,} broken: " + _verdict(report.disagreements),
        highlight=False,
        soft_wrap=True,
    )


def _verdict(disagreements: Sequence[object]) -> str:
    return "[bold red]disagreements found" if disagreements else "[green]all agree"
