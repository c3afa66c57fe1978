"""`merganser audit` and `merganser explain`: is identity right, and why is it so?"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from merganser.admin.database import connected
from merganser.cli.terminal import err, fail, out, run
from merganser.identity import audit as auditing
from merganser.identity import explain as explaining
from merganser.runtime.settings import Settings
from properties import audit as auditing_properties

app = typer.Typer()

MOST = 100
"""Disagreements of properties that are listed: one is enough to act on."""


@app.command()
def audit(
    properties: Annotated[
        bool, typer.Option("--properties", help="Recompute all properties of profiles as well.")
    ] = False,
) -> None:
    """Recompute all grouping from the events alone and compare; status 1 if anything differs."""
    settings = Settings.read()
    agreed = _show(run(_audit(settings)))
    if properties:
        agreed &= _show_properties(run(_audit_properties(settings)))
    raise typer.Exit(0 if agreed else 1)


def _show(report: auditing.Report) -> bool:
    if report.disagreements:
        table = Table("what", "subject", "stored", "expected")
        for disagreement in report.disagreements:
            table.add_row(*(escape(text or "") for text in dataclasses.astuple(disagreement)))
        out.print(table)
    if report.pruned_before:
        out.print(
            f"links from before {report.pruned_before:%Y-%m-%d %H:%M} are taken on trust: "
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
    return not report.disagreements


def _show_properties(report: auditing_properties.Report) -> bool:
    if report.disagreements:
        table = Table("profile", "property", "stored", "expected")
        for one in report.disagreements[:MOST]:
            values = (", ".join(values) or "no value" for values in (one.stored, one.expected))
            table.add_row(one.profile, *map(escape, (one.key, *values)))
        out.print(table)
    out.print(
        f"properties of {report.profiles:,} profiles compared, {report.pending:,} profiles on "
        f"their way, {report.set_aside:,} set aside, {report.backfilling:,} rules in backfill, "
        f"{report.broken:,} broken: " + _verdict(report.disagreements),
        highlight=False,
        soft_wrap=True,
    )
    return not report.disagreements


def _verdict(disagreements: Sequence[object]) -> str:
    return "[bold red]disagreements found" if disagreements else "[green]all agree"


async def _audit(settings: Settings) -> auditing.Report:
    with _bar() as progress:
        async with await connected(settings, "audit") as connection:
            return await auditing.audit(connection, settings.nobody_ids, progress)


async def _audit_properties(settings: Settings) -> auditing_properties.Report:
    with _bar() as progress:
        async with await connected(settings, "audit") as connection:
            return await auditing_properties.audit(connection, datetime.now(UTC), progress)


@contextmanager
def _bar() -> Iterator[Callable[[float], None]]:
    columns = (TextColumn("auditing"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("audit", total=1.0)
        yield lambda done: progress.update(bar, completed=done)


@app.command()
def explain(
    name: Annotated[
        str,
        typer.Argument(metavar="ID", help="A guid of an event or profile, a userId, anonymousId."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False,
) -> None:
    """Tell which profile an id leads to, and why."""
    found = run(_explain(name))
    if not found:
        fail(f"nothing is known of {name!r}: no event, profile, userId or anonymousId")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(item) for item in found], default=str))
        return
    for item in found:
        _tell(item)


async def _explain(name: str) -> list[explaining.Explanation]:
    async with await connected(Settings.read(), "explain") as connection:
        return await explaining.explain(connection, name)


def _tell(item: explaining.Explanation) -> None:
    whose = f"user {item.user_id}" if item.user_id is not None else "nobody known"
    out.print(
        f"[bold]{escape(f'{item.kind} {item.id}')}[/]: {escape(item.because)}.", highlight=False
    )
    if item.profile is None:
        return
    lines = [f"profile {item.profile} of {whose}, {item.events:,} events"]
    for visitor in item.visitors:
        by = f", linked by {visitor.link_event}" if visitor.link_event else ", not linked"
        lines.append(f"has anonymousId {visitor.anonymous_id}{by}")
    lines += [f"{merge.at:%Y-%m-%d %H:%M:%S} {_sentence(merge)}" for merge in item.merges]
    lines += [
        f"refused: {refused.event} links {refused.anonymous_id} to user {refused.user_id}, "
        f"but it belongs to user {refused.owner}"
        for refused in item.refused
    ]
    lines += [f"events of {name} still follow from {profile}" for name, profile in item.moving]
    for line in lines:
        out.print(f"  {line}", highlight=False, markup=False)


def _sentence(merge: explaining.Merge) -> str:
    match merge.reason:
        case "claimed":
            what = f"the anonymous profile of {merge.anonymous_id} became this user's"
        case "merged":
            what = f"{merge.loser}, the anonymous profile of {merge.anonymous_id}, merged into it"
        case _:
            what = (
                f"the events of {merge.anonymous_id} moved from {merge.loser} to {merge.survivor}"
            )
    return f"{what}, by link {merge.link_event}"
